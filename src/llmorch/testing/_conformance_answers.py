"""Rules about answers: their fields, their pieces, and what goes with a request."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import cast

import anyio

from ..errors import ValueRefused
from ..models.message import ToolCall
from ..models.usage import Usage
from ..models.values import to_data
from ..requests import Allowance, ProviderResponse
from ._conformance_rule import Case, Rule, is_count, is_seconds
from ._suite import broken

__all__ = ["RULES", "fault_in_tool_calls"]

_REASONS = ("stop", "length", "tool_calls", "content_filter", "other")
_SETTLE_S = 0.05
UNICODE = 'Grüße, 東京, naïve café, 😀👩‍🚀, a\u2028b\u2029c, d\u0085e, \u200f‏שלום, \\u0041 "quoted" {braces}'


async def _answers(case: Case) -> None:
    answer = await case.answer(case.request())
    if not isinstance(cast("object", answer.text), str) or not answer.text:
        broken(f"the text of the answer to a plain prompt is {answer.text!r}")


async def _fields(case: Case) -> None:
    for stream in (False, True):
        answer = await case.answer(case.request(), stream=stream)
        fault = _fault_in_fields(answer) or fault_in_tool_calls(answer)
        if fault:
            broken(f"{fault}{' (streamed)' if stream else ''}")


def _fault_in_fields(answer: ProviderResponse) -> str | None:
    if not isinstance(cast("object", answer.text), str):
        return f"text is {answer.text!r}"
    if answer.finish_reason not in _REASONS:
        return f"finish_reason is {answer.finish_reason!r}; it must be one of {', '.join(_REASONS)}"
    if not isinstance(cast("object", answer.model), str):
        return f"model is {answer.model!r}; it must be text"
    if not isinstance(cast("object", answer.raw), Mapping):
        return f"raw is of type {type(answer.raw).__name__}; it must be a mapping"
    try:
        to_data(answer.raw, where="raw")
    except ValueRefused as error:
        return f"raw is no plain data: {error}"
    if not isinstance(answer.raw.get("replay", {}), Mapping):
        return f"raw['replay'] is of type {type(answer.raw['replay']).__name__}; it must be a mapping"
    return _fault_in_allowance(answer.allowance)


def _fault_in_allowance(left: object) -> str | None:
    if left is None:
        return None
    if not isinstance(left, Allowance):
        return f"allowance is of type {type(left).__name__}; it must be an Allowance or None"
    for one in fields(left):
        value = getattr(left, one.name)
        good = is_seconds(value) if one.name.endswith("_s") else is_count(value)
        if value is not None and not good:
            return f"allowance.{one.name} is {value!r}; it must be a number that is not negative, or None"
    return None


def fault_in_tool_calls(answer: ProviderResponse) -> str | None:
    """What is wrong with the types of the answer's tool calls."""
    calls = cast("object", answer.tool_calls)
    if not isinstance(calls, tuple):
        return f"tool_calls is of type {type(calls).__name__}; it must be a tuple"
    for call in cast("tuple[object, ...]", calls):
        if not isinstance(call, ToolCall):
            return f"tool_calls holds {type(call).__name__}; it must hold ToolCall only"
        texts = (cast("object", call.id), cast("object", call.name), cast("object", call.arguments))
        if not all(isinstance(text, str) for text in texts):
            return f"{call!r} holds what is no text; id, name and arguments are text, the arguments JSON text"
        if not call.id or not call.name:
            return f"{call!r} has no {'name' if call.id else 'id'}"
    ids = [call.id for call in answer.tool_calls]
    if len(set(ids)) < len(ids):
        return f"two tool calls of one answer have the same id ({', '.join(ids)})"
    return None


async def _usage(case: Case) -> None:
    for stream in (False, True):
        usage = (await case.answer(case.request(), stream=stream)).usage
        fault = None if usage is None else _fault_in_usage(usage)
        if fault:
            broken(f"{fault}{' (streamed)' if stream else ''}")


def _fault_in_usage(usage: Usage) -> str | None:
    if not isinstance(cast("object", usage), Usage):
        return f"usage is of type {type(usage).__name__}; it must be a Usage, or None when nothing credible was said"
    for one in fields(usage):
        if not is_count(getattr(usage, one.name)):
            return f"usage.{one.name} is {getattr(usage, one.name)!r}; it must be a whole number that is not negative"
    if usage.requests > 1:
        return f"usage.requests is {usage.requests} for one call"
    for part, total in (
        ("cached_tokens", "input_tokens"),
        ("cache_write_tokens", "input_tokens"),
        ("reasoning_tokens", "output_tokens"),
    ):
        if getattr(usage, part) > getattr(usage, total):
            return f"usage.{part} ({getattr(usage, part)}) is more than {total} ({getattr(usage, total)})"
    return None


async def _pieces(case: Case) -> None:
    own, got, strangers, is_over, late = threading.get_ident(), list[object](), list[int](), False, list[object]()

    def take(piece: object) -> None:
        (late if is_over else got).append(piece)
        if threading.get_ident() != own:
            strangers.append(threading.get_ident())

    answer = await case.answer(case.request(), on_delta=take)
    is_over = True
    await anyio.sleep(_SETTLE_S)
    odd = next((piece for piece in got if not isinstance(piece, str)), None)
    if odd is not None:
        broken(f"on_delta was given {type(odd).__name__}, not text")
    if strangers:
        broken("on_delta was called from another thread than the loop's own")
    if late:
        broken(f"on_delta was called after complete() had returned, with {late[0]!r}")
    if not got and not case.provider.capabilities(case.model).streaming:
        return
    if "".join(cast("list[str]", got)) != answer.text:
        broken(f"the pieces make {''.join(cast('list[str]', got))!r}, but the text is {answer.text!r}")


async def _unicode(case: Case) -> None:
    for stream in (False, True):
        answer = await case.answer(case.request(UNICODE), stream=stream, where="a prompt in many scripts")
        if case.echoes and answer.text != UNICODE:
            broken(f"{UNICODE!r} came back as {answer.text!r}{' (streamed)' if stream else ''}")


RULES = (
    Rule(
        "answers",
        "complete() gives a ProviderResponse with text for a plain prompt.",
        "Let it work against your server first; every other rule builds on it.",
        _answers,
        after=("made",),
    ),
    Rule(
        "fields",
        "Every field of an answer has the type and the words that llmorch.ports names.",
        "Map the vendor's words to the five finish reasons, keep the vendor's own in raw as plain JSON data, and give "
        "tool calls as a tuple of ToolCall.",
        _fields,
    ),
    Rule(
        "usage",
        "Token counts are whole numbers, of one request, and no part is more than its total.",
        "Add what the vendor counts apart (cached input, reasoning) to the totals; give None when the server said "
        "nothing credible.",
        _usage,
    ),
    Rule(
        "pieces",
        "on_delta gets text only, on the loop's thread, before complete() returns, and its pieces make the text.",
        "Hand on answer text as it comes, without thinking and tool arguments; declare streaming=False if you cannot.",
        _pieces,
    ),
    Rule(
        "unicode",
        "Every character goes through unchanged, in both directions.",
        "Send and read JSON as UTF-8, and end lines at LF, CR or CRLF only: U+2028 within a text is text.",
        _unicode,
    ),
)
