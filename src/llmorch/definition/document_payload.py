"""Payloads in documents: their own field names; what has its default is left out, a plain user block is just text."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError

from .._clock import seconds
from .._json import dumps
from ..errors import LLMOrchError
from ..models.block import Block
from ..models.message import Message
from ..models.payload import Payload, own_name
from ..models.policy import Retry
from ..models.values import Data, to_data
from ..templates.bounds import is_object
from .document_read import Reader, number_from, number_to
from .document_type import type_from, type_to

__all__ = ["payload_from", "payload_to", "retry_from", "retry_to"]

_KNOWN: Final = tuple(Payload.model_fields)
_SPANS: Final = ("timeout", "cache")


def payload_to(payload: Payload[Any]) -> dict[str, Data]:
    """The payload as it stands in a document."""
    written: dict[str, Data] = {}
    for name, value in _changed(payload).items():
        match name:
            case "blocks":
                written[name] = [
                    _block_to(block, payload.name, index=index) for index, block in enumerate(payload.blocks, 1)
                ]
            case "output":
                written[name] = type_to(value)
            case "timeout":
                written[name] = number_to(seconds(payload.timeout))
            case "history":
                written[name] = [_model_to(message) for message in payload.history]
            case "tools":
                written[name] = [{"python": tool.address} for tool in payload.tools]
            case "cache":
                written[name] = payload.cache if isinstance(payload.cache, bool) else number_to(seconds(payload.cache))
            case "retry":
                written[name] = {} if payload.retry is None else retry_to(payload.retry)
            case _:
                written[name] = to_data(value, where=f"{name} of payload {payload.name!r}")
    return written


def retry_to(retry: Retry) -> dict[str, Data]:
    """How often a call is repeated, as it stands in a document."""
    changed = cast("dict[str, float]", _changed(retry))
    return {name: number_to(given) for name, given in changed.items()}


def _changed(value: BaseModel) -> dict[str, object]:
    """Fields that differ from their default, in declared order."""
    fields = vars(value)
    return {
        name: fields[name]
        for name, default in _defaults(type(value))
        if fields[name] is not default and fields[name] != default
    }


@cache
def _defaults(kind: type[BaseModel]) -> tuple[tuple[str, object], ...]:
    """Each field with its default; a field that must be given has one that equals nothing."""
    return tuple((name, field.default) for name, field in kind.model_fields.items())


def _model_to(value: BaseModel) -> dict[str, Data]:
    return {name: to_data(given) for name, given in _changed(value).items()}


def _block_to(block: Block, payload: str, *, index: int) -> Data:
    written = _model_to(block)
    return block.text if written == {"name": own_name(payload, index), "text": block.text} else written


def _block_fields(block: Data, payload: str, *, index: int) -> Data:
    return {"name": own_name(payload, index), "text": block} if isinstance(block, str) else block


def payload_from(reader: Reader, given: Data, at: str) -> Payload[Any] | None:
    """The payload that stands in a document, or None with faults."""
    fields = reader.mapping(given, at, known=_KNOWN, required=("name",))
    if fields is None or fields.keys() - set(_KNOWN):
        return None
    before = len(reader.faults)
    made: dict[str, Any] = dict(fields)  # Any: each field's own type
    made.update((name, number_from(fields[name])) for name in _SPANS if name in fields)
    if "output" in fields:
        made["output"] = type_from(reader, fields["output"], f"{at}.output")
    if "retry" in fields and fields["retry"] is not None:
        made["retry"] = retry_from(reader, fields["retry"], f"{at}.retry")
    if "blocks" in fields:
        blocks = reader.sequence(fields["blocks"], f"{at}.blocks")
        own = str(fields["name"])
        made["blocks"] = [
            _made(reader, Block, _block_fields(block, own, index=index), f"{at}.blocks[{index - 1}]")
            for index, block in enumerate(blocks, 1)
        ]
    if "tools" in fields:
        tools = reader.sequence(fields["tools"], f"{at}.tools")
        made["tools"] = [_tool_from(reader, tool, f"{at}.tools[{index}]") for index, tool in enumerate(tools)]
    if "history" in fields:
        history = reader.sequence(fields["history"], f"{at}.history")
        made["history"] = [
            _made(reader, Message, message, f"{at}.history[{index}]") for index, message in enumerate(history)
        ]
    return _made(reader, Payload, made, at) if len(reader.faults) == before else None


def retry_from(reader: Reader, given: Data, at: str) -> Retry | None:
    """How often a call is repeated, as a document says; None with faults."""
    numbers = {name: number_from(value) for name, value in given.items()} if is_object(given) else given
    return cast("Retry | None", _made(reader, Retry, numbers, at))


def _tool_from(reader: Reader, given: Data, at: str) -> object:
    """The tool that `{python: "module:qualname"}` names: one that is at hand, or a function that becomes one."""
    found = reader.code_at(given, at)
    if found is not None and not callable(found):
        reader.fault(at, "what stands at that address is no function")
    return found


def _made(reader: Reader, kind: type[Any], fields: Data, at: str) -> Any:  # Any: an instance of `kind`, or None
    """An instance of a value class; what it refuses becomes faults."""
    known = reader.mapping(fields, at, known=tuple(kind.model_fields))
    if known is None or known.keys() - kind.model_fields.keys():
        return None
    try:
        # what is nested inside is plain data still, which strict classes take from JSON only
        return kind.model_validate_json(dumps(known)) if kind in (Block, Message) else kind.model_validate(known)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            spot = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
            reader.fault(at + spot, item["msg"])
    except (LLMOrchError, TypeError, ValueError) as error:
        reader.fault(at, str(error))
    return None
