"""Ask the person at the terminal for a yes or a no.

A script in a workflow has no terminal: there the answer is the step's input, which a question of the workflow gives.

Parameters:
    prompt (str, optional): What is asked.
    default (str, optional): `y` or `n`: the answer when there is no other.
    answer (str or bool, optional): The answer, when it is known; the step's input unless given.

Returns:
    An object with `confirmed`, `input` and `prompt`.
"""

from __future__ import annotations

import sys
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["confirm_action"]

_YES = ("y", "yes", "true", "1")
_NO = ("n", "no", "false", "0")


def confirm_action(
    prompt: str = "Continue?", *, default: str | None = None, answer: str | bool | None = None
) -> dict[str, Any]:
    """Whether the person at the terminal agrees.

    Args:
        prompt: What is asked.
        default: `y` or `n`: the answer when there is no other: an empty one, or no terminal.
        answer: The answer, when it is known; nobody is asked then.

    Returns:
        `confirmed`, `input` (the answer's text) and `prompt`.

    Raises:
        ValueError: Nobody answers and there is no default, or the answer is neither a yes nor a no.

    Example:
        >>> confirm_action("Delete it?", answer="yes")
        {'confirmed': True, 'input': 'yes', 'prompt': 'Delete it?'}
    """
    text = str(answer if answer is not None else _asked(prompt, default)).strip().lower() or (default or "").lower()
    if text not in _YES + _NO:
        raise ValueError(f"the answer to {prompt!r} must be yes or no, and not {text!r}")
    return {"confirmed": text in _YES, "input": text, "prompt": prompt}


def _asked(prompt: str, default: str | None) -> str:
    """Empty when there is no terminal, or the person ends it, and there is a default."""
    answer = ""
    if sys.stdin.isatty():
        marks = {"y": "Y/n", "n": "y/N"}.get((default or "").lower()[:1], "y/n")
        try:
            answer = input(f"{prompt} [{marks}]: ")
        except EOFError:
            answer = ""
    if not answer and default is None:
        raise ValueError(
            f"nobody answers {prompt!r}; in a workflow ask with wf.ask(...) and bind its answer as input, or give a "
            "default"
        )
    return answer


if __name__ == "__main__":
    sys.exit(serve(confirm_action, input_as="answer"))
