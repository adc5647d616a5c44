"""What a model thought before it answered, kept apart from the answer's text.

Source: https://api-docs.deepseek.com/guides/thinking_mode (`reasoning_content`),
https://openrouter.ai/docs/use-cases/reasoning-tokens (`reasoning`, `reasoning_details`) and
https://docs.mistral.ai/capabilities/reasoning (`thinking` chunks in the content) (2026-10).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from ..models.values import Data
from ._loose_json import is_list, is_object, mended

__all__ = ["Thinking", "as_data", "given_back", "has_thinking"]

_FIELDS = ("reasoning_content", "reasoning")
_GROWING = ("text", "summary")
_MAX_KEPT = 32_768


def has_thinking(message: Mapping[str, Any]) -> bool:
    """Whether a message or delta may hold thinking; cheap, because most hold none."""
    return (
        "reasoning_content" in message
        or "reasoning" in message
        or "reasoning_details" in message
        or is_list(message.get("content"))
    )


class Thinking:
    """Collects the thinking of one answer out of its message or its deltas.

    Attributes:
        details: OpenRouter's `reasoning_details`; the pieces of one text are joined, all else is kept as it came.
        chunks: Mistral's chunks of thinking; those that follow each other are one.
    """

    __slots__ = ("_text", "chunks", "details")

    def __init__(self) -> None:
        self._text: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.chunks: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """All of it as text."""
        return mended("".join(self._text))

    @property
    def excerpt(self) -> str:
        """The first 32 768 characters of the text."""
        return self.text[:_MAX_KEPT]

    def take(self, message: Mapping[str, Any]) -> None:
        """Take what a message or delta holds of it."""
        for name in _FIELDS:
            said = message.get(name)
            if isinstance(said, str):
                self._text.append(said)
                break  # some servers send the same text under both names
        details = message.get("reasoning_details")
        for detail in details if is_list(details) else ():
            if is_object(detail):
                self._detail(detail)
        content = message.get("content")
        for part in content if is_list(content) else ():
            if is_object(part):
                self._chunk(part)

    def _detail(self, given: dict[str, Any]) -> None:
        last = self.details[-1] if self.details else None
        kind = given.get("type")
        goes_on = (
            last is not None
            and kind in ("reasoning.text", "reasoning.summary")
            and last.get("type") == kind
            and last.get("index") == given.get("index")
        )
        if last is None or not goes_on:
            self.details.append(dict(given))
            return
        for name, value in given.items():
            if name in _GROWING and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value

    def _chunk(self, part: dict[str, Any]) -> None:
        if part.get("type") != "thinking":
            return
        said = _texts(part.get("thinking"))
        self._text.append(said)
        if not self.chunks or self.chunks[-1].get("closed"):
            self.chunks.append({"type": "thinking", "thinking": [{"type": "text", "text": ""}]})
        last = self.chunks[-1]
        last["thinking"][0]["text"] += said
        last.update({name: part[name] for name in ("closed", "signature") if part.get(name) is not None})


def given_back(given: object) -> list[dict[str, Any]]:
    """The objects of a list that a message brought back; frozen data has tuples for lists."""
    items = cast("tuple[Any, ...]", given) if isinstance(given, list | tuple) else ()  # Any: plain data
    return [item for item in items if is_object(item)]


def as_data(given: Any) -> Data:  # Any: whatever JSON a server sent
    """The same as data that can be recorded: halves of characters mended, numbers that are none left out."""
    if isinstance(given, str):
        return mended(given)
    if isinstance(given, float) and not math.isfinite(given):
        return None
    if is_list(given):
        return [as_data(item) for item in given]
    if is_object(given):
        return {mended(name): as_data(item) for name, item in given.items()}
    plain: Data = given
    return plain


def _texts(given: Any) -> str:  # Any: whatever JSON a server sent
    if isinstance(given, str):
        return given
    parts = (part.get("text") for part in given if is_object(part)) if is_list(given) else ()
    return "".join(part for part in parts if isinstance(part, str))
