"""A request as the body of a message.

Source: https://platform.claude.com/docs/en/api/messages/create (2026-11).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import _json
from ..models.message import Message, ToolCall
from ..models.values import Data
from ..requests import ProviderRequest
from ._anthropic_content import Block, blocks_of, refusal, text_block
from ._classify import Origin
from ._loose_json import is_object
from ._vendor import encoded

__all__ = ["REPLAY", "Shape", "body_of"]

REPLAY = "anthropic_content"
"""Under this name an answer's blocks stand in `raw["replay"]` and come back as `Message.vendor`."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CACHED = {"type": "ephemeral"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request says besides its messages and settings.

    Attributes:
        max_tokens: Used when the settings say nothing.
        settings: Those that are set, by name.
        tools: In the vendor's form.
        schema: Of the structured answer, in the vendor's dialect.
        instruction: Says in words what the dialect cannot say.
        cache_prompt: Mark the end of the tools and of the system prompt as worth caching.
    """

    max_tokens: int
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    tools: tuple[dict[str, Data], ...] = ()
    schema: dict[str, Data] | None = None
    instruction: str = ""
    cache_prompt: bool = False


def body_of(request: ProviderRequest, origin: Origin, shape: Shape, *, stream: bool) -> bytes:
    """The body as bytes; `extra` overrides every field but `stream`, and adds to `output_config`.

    Raises:
        BadRequest: A message holds a part this API does not take, nobody but the system speaks, or `extra` holds what
            is no JSON.
    """
    turns = _Turns(origin, request.step)
    for message in request.messages:
        turns.add(message)
    body: dict[str, Any] = {"model": request.model, "max_tokens": shape.max_tokens, "messages": turns.messages()}
    system = [*turns.system, text_block(shape.instruction)] if shape.instruction else turns.system
    if system:
        body["system"] = _system(system, shape.cache_prompt)
    for name, value in shape.settings.items():
        body["stop_sequences" if name == "stop" else name] = value
    if shape.tools:
        body["tools"] = _cached_last(shape.tools) if shape.cache_prompt else shape.tools
    elif turns.tool_names:
        body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in turns.tool_names]
        body["tool_choice"] = {"type": "none"}
    if shape.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": shape.schema}}
    _add(body, request.extra)
    body.pop("stream", None)
    if stream:
        body["stream"] = True
    return encoded(body, request, origin)


def _system(blocks: list[Block], cache_prompt: bool) -> str | list[Block]:
    if cache_prompt:
        return _cached_last(blocks)
    return str(blocks[0]["text"]) if len(blocks) == 1 else blocks


def _cached_last(blocks: list[Block] | tuple[dict[str, Data], ...]) -> list[Block]:
    return [*blocks[:-1], {**blocks[-1], "cache_control": _CACHED}]


def _add(body: dict[str, Any], extra: Mapping[str, Data]) -> None:
    config = extra.get("output_config")
    own = body.get("output_config")
    body.update(extra)
    if own is not None and isinstance(config, Mapping):  # `effort` stands there, too
        body["output_config"] = {**own, **config}


class _Turns:
    """Puts messages together as turns of user and assistant."""

    def __init__(self, origin: Origin, step: str | None) -> None:
        self._origin = origin
        self._step = step
        self._turns: list[tuple[str, list[Block]]] = []
        self._ids: dict[str, list[str]] = {}
        self._used: set[str] = set()
        self.system: list[Block] = []
        self.tool_names: dict[str, None] = {}

    def add(self, message: Message) -> None:
        """Take the next message."""
        blocks = blocks_of(message, self._origin, self._step)
        if message.role == "system":
            if any(block["type"] != "text" for block in blocks):
                raise refusal("of the system holds a part that is no text; give it to the user's", *self._about)
            self.system += blocks
        elif message.role == "tool":
            result: Block = {"type": "tool_result", "tool_use_id": self._answered(message.tool_call_id or "")}
            if blocks:
                result["content"] = message.content if isinstance(message.content, str) else blocks
            self._append("user", [result])
        elif message.tool_calls:
            self._append("assistant", self._asking(message, blocks))
        else:
            self._append(message.role, blocks)

    @property
    def _about(self) -> tuple[Origin, str | None]:
        return self._origin, self._step

    def _append(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))

    def _asking(self, message: Message, said: list[Block]) -> list[Block]:
        """The turn of an assistant that called tools: as it came, where that is known, else text and calls."""
        uses = [self._use(call) for call in message.tool_calls]
        kept = _kept(message)
        if kept is None:
            return [*said, *uses]
        told = "".join(str(block.get("text")) for block in kept if block["type"] == "text")
        asked = [block.get("id") for block in kept if block["type"] == "tool_use"]
        if told != message.text or asked != [call.id for call in message.tool_calls]:
            # A hook changed the answer; the thinking is still wanted back.
            thoughts = [block for block in kept if block["type"] in ("thinking", "redacted_thinking")]
            return [*thoughts, *said, *uses]
        ready = iter(uses)
        return [{**block, **next(ready)} if block["type"] == "tool_use" else block for block in kept]

    def _use(self, call: ToolCall) -> Block:
        self.tool_names[call.name] = None
        return {"type": "tool_use", "id": self._new_id(call.id), "name": call.name, "input": _input(call.arguments)}

    def _new_id(self, given: str) -> str:
        """An id the API takes: of its alphabet, and used once in a conversation (some servers count anew each turn)."""
        wanted = made = _sendable(given)
        count = 1
        while made in self._used:
            count += 1
            made = f"{wanted[:56]}_{count}"
        self._used.add(made)
        self._ids.setdefault(given, []).append(made)
        return made

    def _answered(self, given: str) -> str:
        waiting = self._ids.get(given)
        return waiting.pop(0) if waiting else _sendable(given)

    def messages(self) -> list[dict[str, Any]]:
        """The turns as messages.

        Raises:
            BadRequest: There are none.
        """
        if not self._turns:
            raise refusal(f"must come from the user, or {self._origin.provider} has nothing to answer", *self._about)
        return [{"role": role, "content": _content(blocks)} for role, blocks in self._turns]


def _content(blocks: list[Block]) -> str | list[Block]:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    if any(block["type"] == "tool_result" for block in blocks):
        return sorted(blocks, key=lambda block: block["type"] != "tool_result")  # results stand first, says the API
    return blocks


def _kept(message: Message) -> list[Block] | None:
    """The blocks that came with an assistant's message, if this vendor gave them."""
    given: Any = message.vendor.get(REPLAY)  # Any: whatever another vendor or a hook put there
    if not isinstance(given, list | tuple):
        return None
    listed: list[Any] = [*given]
    blocks: list[Block] = [dict(block) for block in listed if is_object(block) and isinstance(block.get("type"), str)]
    return [block for block in blocks if block["type"] != "text" or block.get("text")]


def _sendable(given: str) -> str:
    if _ID.fullmatch(given):
        return given
    return f"toolu_{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _input(arguments: str) -> dict[str, Any]:
    """Arguments as the object the API demands; what the model wrote amiss stands in it as text."""
    if not arguments.strip():
        return {}
    try:
        parsed = _json.loads(arguments)
        _json.dumps(parsed)  # NaN is read, but not written
    except (ValueError, RecursionError):
        parsed = None
    return parsed if is_object(parsed) else {"arguments": arguments}
