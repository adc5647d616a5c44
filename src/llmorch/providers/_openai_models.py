"""What OpenAI's models take and how much they hold.

Source: https://platform.openai.com/docs/models and .../docs/guides/latest-model (2026-02; gpt-5.4 and 5.5: 2026-10). A
model that is not in the table gets no claim: what it does not take, the server says.
"""

from __future__ import annotations

from ..requests import Capabilities

__all__ = ["capabilities_of"]

_SAMPLING = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_SAMPLING_AND_STOP = _SAMPLING | {"stop"}


def _gpt5(*, unsupported: frozenset[str], context: int = 400_000, answer: int = 128_000) -> Capabilities:
    return Capabilities(images=True, context_tokens=context, max_output_tokens=answer, unsupported=unsupported)


# The first prefix that fits counts, so longer ones stand first.
_TABLE: tuple[tuple[str, Capabilities], ...] = (
    ("gpt-5-chat", Capabilities(images=True, context_tokens=128_000, max_output_tokens=16_384)),
    ("gpt-5.1-chat", _gpt5(context=128_000, answer=16_384, unsupported=_SAMPLING_AND_STOP)),
    ("gpt-5.2-chat", _gpt5(context=128_000, answer=16_384, unsupported=_SAMPLING_AND_STOP)),
    ("gpt-5.1-codex", _gpt5(unsupported=_SAMPLING_AND_STOP)),
    ("gpt-5.2-codex", _gpt5(unsupported=_SAMPLING_AND_STOP)),
    ("gpt-5.2-pro", _gpt5(unsupported=_SAMPLING_AND_STOP)),
    ("gpt-5.4-mini", _gpt5(unsupported=frozenset({"stop"}))),
    ("gpt-5.4-nano", _gpt5(unsupported=frozenset({"stop"}))),
    ("gpt-5.4", _gpt5(context=1_050_000, unsupported=frozenset({"stop"}))),
    ("gpt-5.5", _gpt5(context=1_050_000, unsupported=frozenset({"stop"}))),
    ("gpt-5.", _gpt5(unsupported=frozenset({"stop"}))),  # 5.1 and later reason only when asked to
    ("gpt-5", _gpt5(unsupported=_SAMPLING_AND_STOP)),
    ("o1-mini", Capabilities(tools=False, json_schema=False, context_tokens=128_000, unsupported=_SAMPLING)),
    ("o1-preview", Capabilities(tools=False, json_schema=False, context_tokens=128_000, unsupported=_SAMPLING)),
    ("o1", Capabilities(images=True, context_tokens=200_000, max_output_tokens=100_000, unsupported=_SAMPLING)),
    ("o3-mini", Capabilities(context_tokens=200_000, max_output_tokens=100_000, unsupported=_SAMPLING)),
    (
        "o3",
        Capabilities(images=True, context_tokens=200_000, max_output_tokens=100_000, unsupported=_SAMPLING_AND_STOP),
    ),
    (
        "o4-mini",
        Capabilities(images=True, context_tokens=200_000, max_output_tokens=100_000, unsupported=_SAMPLING_AND_STOP),
    ),
    ("gpt-4.1", Capabilities(images=True, context_tokens=1_047_576, max_output_tokens=32_768)),
    ("gpt-4o-2024-05-13", Capabilities(images=True, json_schema=False, context_tokens=128_000, max_output_tokens=4096)),
    ("gpt-4o", Capabilities(images=True, context_tokens=128_000, max_output_tokens=16_384)),
    ("gpt-4-turbo", Capabilities(images=True, json_schema=False, context_tokens=128_000, max_output_tokens=4096)),
    ("gpt-4", Capabilities(json_schema=False, context_tokens=8192, max_output_tokens=8192)),
    ("gpt-3.5-turbo", Capabilities(json_schema=False, context_tokens=16_385, max_output_tokens=4096)),
)
_UNKNOWN = Capabilities(images=True)


def capabilities_of(model: str) -> Capabilities:
    """What the model takes; fine-tuned models (`ft:...`) count as their base."""
    base = model.removeprefix("ft:")
    return next((found for prefix, found in _TABLE if base.startswith(prefix)), _UNKNOWN)
