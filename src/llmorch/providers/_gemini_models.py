"""What Gemini models take and how much they hold.

Source: https://ai.google.dev/gemini-api/docs/models, .../changelog, .../structured-output and .../whats-new-gemini-3.6
(2026-10). From 3.6 Flash and 3.5 Flash-Lite on, `temperature` and `topP` are deprecated and without effect (3.5 Flash
is answered by 3.6). Penalties answer 400 on every model but 2.0 and 1.5-002. JSON output together with functions came
with Gemini 3. A model that is not in the table gets no claim.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..requests import Capabilities

__all__ = ["capabilities_of", "wants_signatures"]

_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
_FIXED_SAMPLING = _PENALTIES | {"temperature", "top_p"}
_NO_SETTING: frozenset[str] = frozenset()

_OTHER_KINDS = re.compile(r"-(image|tts|live|audio|native-audio|omni|embedding|robotics|computer-use)\b")
"""Models that make pictures or speech, or speak another protocol."""
_GENERATION = re.compile(r"gemini-(\d+)")


def _large(unsupported: frozenset[str], *, answer: int = 65_536, context: int = 1_048_576, both: bool) -> Capabilities:
    return Capabilities(
        images=True,
        context_tokens=context,
        max_output_tokens=answer,
        unsupported=unsupported,
        schema_with_tools=both,
    )


_GEMMA_3 = Capabilities(tools=False, json_schema=False, images=True, schema_with_tools=False)
_UNKNOWN = Capabilities(images=True, schema_with_tools=False)
_SPEECH = Capabilities(tools=False, json_schema=False, schema_with_tools=False)
_PICTURES = replace(_SPEECH, images=True)

# The first prefix that fits counts, so longer ones stand first.
_TABLE: tuple[tuple[str, Capabilities], ...] = (
    ("gemini-4", _large(_FIXED_SAMPLING, both=True)),
    ("gemini-3.5-flash", _large(_FIXED_SAMPLING, both=True)),
    ("gemini-3.6", _large(_FIXED_SAMPLING, both=True)),
    ("gemini-3.7", _large(_FIXED_SAMPLING, both=True)),
    ("gemini-3.8", _large(_FIXED_SAMPLING, both=True)),
    ("gemini-3", _large(_PENALTIES, both=True)),
    ("gemini-flash-latest", _large(_PENALTIES, both=True)),
    ("gemini-flash-lite-latest", _large(_PENALTIES, both=True)),
    ("gemini-pro-latest", _large(_PENALTIES, both=True)),
    ("gemini-2.5", _large(_PENALTIES, both=False)),
    ("gemini-2.0", _large(_NO_SETTING, answer=8192, both=False)),
    ("gemini-1.5-pro-002", _large(_NO_SETTING, answer=8192, context=2_097_152, both=False)),
    ("gemini-1.5-pro", _large(_PENALTIES, answer=8192, context=2_097_152, both=False)),
    ("gemini-1.5-flash-002", _large(_NO_SETTING, answer=8192, both=False)),
    ("gemini-1.5-flash", _large(_PENALTIES, answer=8192, both=False)),
    ("gemma-3", _GEMMA_3),
)


def capabilities_of(model: str) -> Capabilities:
    """What the model takes, with or without `models/` before its name."""
    name = model.removeprefix("models/")
    if name.startswith("gemini-") and _OTHER_KINDS.search(name):
        return _PICTURES if "-image" in name else _SPEECH
    return next((found for prefix, found in _TABLE if name.startswith(prefix)), _UNKNOWN)


def wants_signatures(model: str) -> bool:
    """Whether the model refuses function calls in the prompt that bear no thought signature: Gemini 3 and later."""
    generation = _GENERATION.match(model.removeprefix("models/"))
    return generation is not None and int(generation[1]) >= 3
