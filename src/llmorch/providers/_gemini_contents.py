"""The messages of a request as the contents of generateContent.

Source: https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/function-calling and
.../thought-signatures (2026-10).
"""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from .. import _json
from ..errors import BadRequest
from ..models.message import Image, Message, Part, Text, ToolCall
from ..requests import ProviderRequest
from ._classify import Origin
from ._gemini_models import wants_signatures
from ._loose_json import is_list, is_object

__all__ = ["REPLAY", "Conversation"]

REPLAY = "gemini"
"""Where an answer's own parts stand in `raw["replay"]` and in `Message.vendor`."""

_UNSIGNED = "skip_thought_signature_validator"
"""What Gemini takes in the place of a thought signature where a call was made by another model."""
_MAX_EXACT = 2**53
_MAX_DEPTH = 50


class _Asked(NamedTuple):
    """A call that a tool's message may answer: its place among all, its name, and its id if Gemini knows one."""

    place: int
    name: str
    id: str | None


class Conversation:
    """The contents of one request.

    Attributes:
        system: Parts of the system instruction.
        contents: What was said, by turns.
        names: Tools that were called, in order.

    Raises:
        BadRequest: A message holds what Gemini does not take.
    """

    def __init__(self, request: ProviderRequest, origin: Origin) -> None:
        self.system: list[dict[str, Any]] = []
        self.contents: list[dict[str, Any]] = []
        self.names: dict[str, None] = {}
        self._origin = origin
        self._step = request.step
        self._is_signed = wants_signatures(request.model)
        self._asked: dict[str, _Asked] = {}
        self._answers: list[tuple[int, dict[str, Any]]] = []
        for message in request.messages:
            self._add(message)
        if not self.contents and self.system:  # there must be something to answer
            self.contents.append({"role": "user", "parts": self.system})
            self.system = []

    def _add(self, message: Message) -> None:
        if message.role == "system":
            self.system += self._texts(message)
        elif message.role == "tool":
            self._answer(message)
        elif message.role == "assistant":
            self._extend("model", self._said(message))
        else:
            self._extend("user", self._parts(message))

    def _extend(self, role: str, parts: list[dict[str, Any]]) -> None:
        """Put parts into the last turn if it is the same role's; nothing may stand beside the results of tools."""
        if self.contents and self.contents[-1]["role"] == role and not self._answers:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})
        self._answers = []

    def _parts(self, message: Message) -> list[dict[str, Any]]:
        if isinstance(message.content, str):
            return [{"text": message.content}]
        return [self._part(part) for part in message.content]

    def _texts(self, message: Message) -> list[dict[str, Any]]:
        parts = self._parts(message)
        if any("text" not in part for part in parts):
            raise self._refused(f"a {message.role} message {self._of()}holds more than text; give it in a user message")
        return parts

    def _said(self, message: Message) -> list[dict[str, Any]]:
        """The parts of an assistant's message: as Gemini sent them where they are kept, else made from the message."""
        calls = message.tool_calls
        parts = _kept_parts(message)
        if parts is None:
            parts = [part for part in self._parts(message) if part.get("text") != "" or not calls]
            parts += [{"functionCall": {"id": call.id, "name": call.name, "args": _args(call)}} for call in calls]
        called = [part for part in parts if is_object(part.get("functionCall"))]
        if called and self._is_signed:
            called[0].setdefault("thoughtSignature", _UNSIGNED)
        for call, part in zip(calls, called, strict=True):
            known = part["functionCall"].get("id")
            self._asked[call.id] = _Asked(len(self._asked), call.name, known if isinstance(known, str) else None)
            self.names[call.name] = None
        return parts

    def _answer(self, message: Message) -> None:
        """Put a tool's result where it belongs: all of one turn in one content, in the order of their calls."""
        asked = self._asked.get(message.tool_call_id or "")
        if asked is None:
            raise self._refused(
                f"a tool message {self._of()}answers the call {message.tool_call_id!r}, for which no earlier message "
                "asks; keep the assistant's message before it"
            )
        text = "".join(part["text"] for part in self._texts(message))
        result: dict[str, Any] = {"name": asked.name, "response": {"result": _result(text)}}
        if asked.id is not None:
            result["id"] = asked.id
        if not self._answers:
            self.contents.append({"role": "user", "parts": []})
        self._answers.append((asked.place, {"functionResponse": result}))
        self._answers.sort(key=itemgetter(0))
        self.contents[-1]["parts"] = [part for _, part in self._answers]

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"text": part.text}
        if not part.url.startswith("data:"):
            return {"fileData": {"mimeType": _media_type(part), "fileUri": part.url}}
        head, comma, data = part.url.removeprefix("data:").partition(",")
        held = _bytes_of(data, is_base64=head.endswith(";base64")) if comma else None
        if held is None:
            raise self._refused(f"a message {self._of()}holds a data: URL that cannot be read; check its base64")
        media_type = head.partition(";")[0] or part.media_type
        return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(held).decode("ascii")}}

    def _of(self) -> str:
        return f"of step {self._step!r} " if self._step else ""

    def _refused(self, text: str) -> BadRequest:
        return BadRequest(text, provider=self._origin.provider, model=self._origin.model, step=self._step)


def _bytes_of(data: str, *, is_base64: bool) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True) if is_base64 else unquote_to_bytes(data)
    except ValueError:
        return None


def _media_type(part: Part) -> str:
    """The declared media type; an Image that declares none may be told by its name."""
    if isinstance(part, Text):
        return "text/plain"
    if isinstance(part, Image) and part.media_type == "image/png":
        guessed = mimetypes.guess_type(urlsplit(part.url).path)[0]
        return guessed if guessed and guessed.startswith("image/") else part.media_type
    return part.media_type


def _kept_parts(message: Message) -> list[dict[str, Any]] | None:
    """What Gemini wants back with the message; None when there is nothing, or it belongs to other calls."""
    kept = message.vendor.get(REPLAY)
    own = _json.loads(_json.dumps(kept.get("parts"))) if is_object(kept) else None  # frozen lists become lists again
    if not is_list(own) or not all(is_object(part) for part in own):
        return None
    called = [part["functionCall"] for part in own if is_object(part.get("functionCall"))]
    same = [call.get("name") for call in called] == [call.name for call in message.tool_calls]
    return own if own and same else None


def _args(call: ToolCall) -> dict[str, Any]:
    """The arguments as the object Gemini demands; what another model wrote amiss is shown as it wrote it."""
    value = _object_in(call.arguments) if call.arguments.strip() else {}
    return {"arguments": call.arguments} if value is None else value


def _result(text: str) -> Any:  # Any: JSON data
    """An object where a tool gave one and it can be carried unchanged, else the text itself.

    Gemini keeps numbers as doubles, and takes a `$ref` for the name of a function.
    """
    value = _object_in(text)
    return value if value is not None and _is_exact(value) else text


def _object_in(text: str) -> dict[str, Any] | None:
    try:
        value = _json.loads(text) if text.lstrip()[:1] == "{" else None
        if not is_object(value):
            return None
        _json.dumps(value)  # NaN and lone halves of characters are no JSON
    except (ValueError, RecursionError):
        return None
    return value


def _is_exact(value: Any, depth: int = 0) -> bool:  # Any: JSON data
    if depth > _MAX_DEPTH:
        return False
    if is_object(value):
        return "$ref" not in value and _all_exact([*value.values()], depth)
    if is_list(value):
        return _all_exact(value, depth)
    return not isinstance(value, int) or abs(value) <= _MAX_EXACT


def _all_exact(items: Sequence[Any], depth: int) -> bool:
    return all(_is_exact(item, depth + 1) for item in items)
