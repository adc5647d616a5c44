"""One message of a conversation with a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from .base import FrozenData, Value, positional
from .values import FrozenDict

__all__ = ["File", "Image", "Message", "Part", "Role", "Text", "ToolCall"]

Role = Literal["system", "user", "assistant", "tool"]


class Text(Value):
    """A part of a message that is text.

    Example:
        >>> Text("hello").text
        'hello'
    """

    text: str

    @positional
    def __init__(self, text: str) -> None:
        self._fill(text=text)


class Image(Value):
    """A part of a message that is an image, by address (`https:` or `data:`).

    Example:
        >>> Image("data:image/png;base64,AAAA").media_type
        'image/png'
    """

    url: str
    media_type: str = "image/png"

    @positional
    def __init__(self, url: str, *, media_type: str = "image/png") -> None:
        self._fill(url=url, media_type=media_type)


class File(Value):
    """A part of a message that is a file, by address (`https:` or `data:`).

    Example:
        >>> File("data:text/plain,hi", media_type="text/plain").name
        ''
    """

    url: str
    media_type: str
    name: str = ""

    @positional
    def __init__(self, url: str, *, media_type: str, name: str = "") -> None:
        self._fill(url=url, media_type=media_type, name=name)


Part = Text | Image | File


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model asks for; `arguments` is the raw JSON text it wrote.

    Example:
        >>> ToolCall("call-1", "add", '{"a": 1}').name
        'add'
    """

    id: str
    name: str
    arguments: str

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=False)  # a dumped one is a dict and is taken back


# The slots of a pydantic value, each set by itself: `object.__setattr__` would look them up by name every time.
_set_values, _set_names, _set_extra, _set_private = (
    vars(BaseModel)[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
_NONE: FrozenDict[str, Any] = FrozenDict()  # Any: of nothing
_FIELDS = {
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "vendor",
}  # one for all: nothing changes the set of a frozen value


class Message(Value):
    """One message: who says it and what.

    Args:
        role: `system`, `user`, `assistant` or `tool`.
        content: Text, or parts.
        tool_calls: Tools an assistant's message asks for.
        tool_call_id: The call a tool's message answers.
        vendor: What the vendor wants back with an assistant's message, such as signed thinking; only the provider that
            gave it reads it.

    Example:
        >>> Message("user", "Hello").text
        'Hello'
    """

    role: Role
    content: str | tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = Field(default=(), strict=False)
    tool_call_id: str | None = None
    vendor: FrozenData = FrozenDict()

    @positional
    def __init__(
        self,
        role: Role,
        content: str | Iterable[Part],
        *,
        tool_calls: Iterable[ToolCall] = (),
        tool_call_id: str | None = None,
        vendor: Mapping[str, Any] = FrozenDict(),
    ) -> None:
        parts = content if isinstance(content, str) else tuple(content)
        self._fill(role=role, content=parts, tool_calls=tuple(tool_calls), tool_call_id=tool_call_id, vendor=vendor)

    @classmethod
    def plain(cls, role: Role, text: str) -> Message:
        """A message of text that needs no validation: pydantic would take ten times as long to find nothing."""
        message = cls.__new__(cls)
        _set_values(message, {"role": role, "content": text, "tool_calls": (), "tool_call_id": None, "vendor": _NONE})
        _set_names(message, _FIELDS)
        _set_extra(message, None)
        _set_private(message, None)
        return message

    @property
    def text(self) -> str:
        """The text of the message; parts that are no text are left out."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))
