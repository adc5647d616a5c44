"""What the dialects of a model server have in common: an answer before it is written, and a question as it was read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..models.message import ToolCall

__all__ = ["Asked", "Said", "compact", "entries", "event", "fields", "is_entry", "is_list", "loaded", "slices"]


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of a model, before a dialect writes it.

    Attributes:
        text: The whole text.
        calls: Tools it asks for.
        finish: `stop`, `length`, `tool_calls` or `content_filter`; empty: `tool_calls` when it calls, else `stop`.
        model: As the server names it.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer; None counts the words of the text.

    Example:
        >>> Said("two words").counted, Said("two words").reason
        (2, 'stop')
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    model: str = "mock-model"
    input_tokens: int = 10
    output_tokens: int | None = None

    @property
    def reason(self) -> str:
        """Why the answer ended."""
        return self.finish or ("tool_calls" if self.calls else "stop")

    @property
    def counted(self) -> int:
        """Tokens of the answer."""
        return max(1, len(self.text.split())) if self.output_tokens is None else self.output_tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        kind: `answer`, `models`, or `other` for a path the vendor does not have.
        is_streamed: It wants a stream.
        model: The model's name.
        tools: The tools it offers, each name with the schema of its arguments; none when it forbids calls.
        has_results: A message holds results of tools.
        schema: What a structured answer must satisfy; None when text will do.
    """

    kind: str
    is_streamed: bool = False
    model: str = ""
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    has_results: bool = False
    schema: Mapping[str, Any] | None = None


def compact(value: object) -> str:
    """JSON without blanks; other alphabets stay readable, so that a cut may fall inside a character."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(value: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {compact(value)}\n\n".encode()


def loaded(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty when it is none."""
    try:
        parsed: object = json.loads(body)
    except ValueError:
        return {}
    return fields(parsed)


def is_entry(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is a JSON list."""
    return isinstance(value, list)


def entries(value: Any) -> list[dict[str, Any]]:  # Any: whatever JSON a client sent
    """The objects of a list; none when it is no list."""
    return [entry for entry in value if is_entry(entry)] if is_list(value) else []


def fields(value: Any) -> dict[str, Any]:  # Any: whatever JSON a client sent
    """The object itself; empty when it is none."""
    return value if is_entry(value) else {}


def slices(text: str, count: int = 3) -> Sequence[str]:
    """A text cut into that many parts, such as the arguments of a tool call in a stream."""
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]
