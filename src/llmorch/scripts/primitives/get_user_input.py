"""Ask the person at the terminal for a text.

A script in a workflow has no terminal: there the answer is the step's input, which a question of the workflow gives.

Parameters:
    prompt (str, optional): What is asked.
    multiline (bool, optional): Read lines until an empty one.
    default (str, optional): The answer when there is no other.
    answer (str, optional): The answer, when it is known; the step's input unless given.

Returns:
    An object with `input`, `multiline` and `length`, in characters.
"""

from __future__ import annotations

import sys
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["get_user_input"]


def get_user_input(
    prompt: str = "Enter input:",
    *,
    multiline: bool = False,
    default: str | None = None,
    answer: str | None = None,
) -> dict[str, Any]:
    """What the person at the terminal answers.

    Args:
        prompt: What is asked.
        multiline: Read lines until an empty one.
        default: The answer when there is no other: an empty one, or no terminal.
        answer: The answer, when it is known; nobody is asked then.

    Returns:
        `input`, `multiline` and `length` (characters).

    Raises:
        ValueError: Nobody answers, and there is no default.

    Example:
        >>> get_user_input("Your name?", answer="Ada")
        {'input': 'Ada', 'multiline': False, 'length': 3}
    """
    if answer is None:
        answer = _asked(prompt, multiline)
    text = answer or default
    if text is None:
        raise ValueError(
            f"nobody answers {prompt!r}; in a workflow ask with wf.ask(...) and bind its answer as input, or give a "
            "default"
        )
    return {"input": text, "multiline": multiline, "length": len(text)}


def _asked(prompt: str, multiline: bool) -> str | None:
    """None when there is no terminal, or the person ends it."""
    if not sys.stdin.isatty():
        return None
    try:
        if not multiline:
            return input(f"{prompt} ")
        print(f"{prompt} (an empty line ends it)")
        return "\n".join(iter(input, ""))
    except EOFError:
        return None


if __name__ == "__main__":
    sys.exit(serve(get_user_input, input_as="answer"))
