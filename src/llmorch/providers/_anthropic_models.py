"""What Claude models take and how much they hold.

Source: https://platform.claude.com/docs/models/overview, .../docs/en/api/versioning and
.../docs/en/build-with-claude/structured-outputs (2026-11). A model that is not in the table gets no claim about its
size: what it does not take, the server says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..requests import Capabilities

__all__ = ["NO_SAMPLING_SINCE", "capabilities_of"]

NO_SAMPLING_SINCE = "2026-10-21"
"""The version of the API from which on no model takes `temperature` and `top_p`."""

_NEVER = frozenset({"seed", "presence_penalty", "frequency_penalty"})
_SAMPLING = frozenset({"temperature", "top_p"})


@dataclass(frozen=True, slots=True)
class _Model:
    """A row of the table.

    Attributes:
        samples: Whether it takes `temperature` and `top_p` in the API's version 2023-06-01.
    """

    context: int = 1_000_000
    answer: int = 128_000
    json_schema: bool = True
    samples: bool = False


# The first prefix that fits counts, so longer ones stand first.
_TABLE: tuple[tuple[str, _Model], ...] = (
    ("claude-fable-5", _Model()),
    ("claude-mythos-", _Model()),
    ("claude-opus-5", _Model()),
    ("claude-sonnet-5", _Model()),
    ("claude-haiku-5", _Model()),
    ("claude-opus-4-8", _Model()),
    ("claude-opus-4-7", _Model()),
    ("claude-opus-4-6", _Model(samples=True)),
    ("claude-sonnet-4-6", _Model(samples=True)),
    ("claude-opus-4-5", _Model(200_000, 64_000, samples=True)),
    ("claude-sonnet-4-5", _Model(200_000, 64_000, samples=True)),
    ("claude-haiku-4-5", _Model(200_000, 64_000, samples=True)),
    ("claude-opus-4-1", _Model(200_000, 32_000, json_schema=False, samples=True)),
    ("claude-opus-4", _Model(200_000, 32_000, json_schema=False, samples=True)),
    ("claude-sonnet-4", _Model(200_000, 64_000, json_schema=False, samples=True)),
    ("claude-3-7-sonnet", _Model(200_000, 64_000, json_schema=False, samples=True)),
    ("claude-3-5-", _Model(200_000, 8192, json_schema=False, samples=True)),
    ("claude-3-", _Model(200_000, 4096, json_schema=False, samples=True)),
)


def _row(model: str) -> _Model | None:
    return next((found for prefix, found in _TABLE if model.startswith(prefix)), None)


@lru_cache(maxsize=256)  # asked for every call
def capabilities_of(model: str, *, version: str, is_own: bool) -> Capabilities:
    """What the model takes.

    Args:
        version: The version of the API.
        is_own: Anthropic's own host is asked. Of another host's models nothing is known unless they have Claude's
            names, and structured output is not counted on.
    """
    row = _row(model)
    samples = row is None or row.samples
    if version >= NO_SAMPLING_SINCE and (is_own or row is not None):
        samples = False
    unsupported = _NEVER if samples else _NEVER | _SAMPLING
    if row is None:
        return Capabilities(images=True, json_schema=is_own, unsupported=unsupported)
    return Capabilities(
        images=True,
        json_schema=row.json_schema,
        context_tokens=row.context,
        max_output_tokens=row.answer,
        unsupported=unsupported,
    )
