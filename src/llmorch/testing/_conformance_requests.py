"""Rules about requests: settings, extra fields, schemas, tools, and requests that are odd."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping
from typing import Any, cast

from ..errors import LLMOrchError, ProviderError
from ..models.message import Image, Message, Text, ToolCall
from ..models.settings import Settings
from ..requests import ProviderRequest, ProviderResponse, ToolSpec
from ._conformance_answers import fault_in_tool_calls
from ._conformance_rule import PROMPT, Case, Rule, unheard
from ._suite import broken, name_of, skipped

__all__ = ["RULES"]

_SETTINGS: Mapping[str, Any] = {  # Any: the types of the settings
    "temperature": 0.5,
    "max_tokens": 64,
    "top_p": 0.9,
    "stop": ("\u2603",),
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
}
_WEATHER = ToolSpec(
    "weather",
    "The weather of a city today.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
_SCHEMA: Mapping[str, Any] = {  # Any: a JSON schema
    "title": "Drink",
    "type": "object",
    "properties": {"name": {"type": "string"}, "is_hot": {"type": "boolean"}},
    "required": ["name", "is_hot"],
    "additionalProperties": False,
}
_ASK_TOOL = Message("user", "What is the weather in Bergen? Ask the tool.")
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


async def _settings(case: Case) -> None:
    unsupported = case.provider.capabilities(case.model).unsupported
    for name, value in _SETTINGS.items():
        if name not in unsupported:
            request = case.request(settings=Settings(**{name: value}))
            await case.answer(request, where=f"a request with {name}={value!r}")
    if case.provider.capabilities(case.model).streaming and "max_tokens" not in unsupported:
        await case.answer(case.request(settings=Settings(max_tokens=64)), stream=True, where="with max_tokens=64")


async def _extra(case: Case) -> None:
    error = await case.refusal(case.request(extra={"llmorch_probe": {"nested": [1, None, "é"]}}))
    if error is not None and not _is_from_server(error):
        broken(f"an extra field was refused before anything was sent: {name_of(error)}")
    error = await case.refusal(case.request(extra={"llmorch_probe": object()}))
    if error is not None and not isinstance(error, LLMOrchError):
        broken(f"an extra field that is no data gave {name_of(error)}")
    for stream in (False, True):
        request = case.request(extra={"stream": not stream})
        try:
            answer = await case.tried(request, on_delta=unheard if stream else None)
        except ProviderError as refused:
            if _is_from_server(refused):
                continue
            broken(f"extra={{'stream': {not stream}}} was refused: {name_of(refused)}")
        if not answer.text:
            broken(f"extra={{'stream': {not stream}}} changed how the answer is read: its text is {answer.text!r}")


def _is_from_server(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.status is not None


async def _unchanged(case: Case) -> None:
    caps = case.provider.capabilities(case.model)
    for stream in (False, True):
        request = case.request(
            settings=Settings() if "max_tokens" in caps.unsupported else Settings(max_tokens=64),
            tools=(_mutable(_WEATHER),) if caps.tools else (),
            output_schema=copy.deepcopy(dict(_SCHEMA)) if caps.json_schema and not caps.tools else None,
            extra={"llmorch_probe": {"nested": [1, 2]}},
        )
        before = copy.deepcopy(request)
        with contextlib.suppress(Exception):  # what it raises is another rule's business
            await case.tried(request, on_delta=unheard if stream else None)
        if request != before:
            changed = [name for name in ("tools", "output_schema", "extra") if _differs(request, before, name)]
            broken(f"complete() changed {', '.join(changed) or 'the request'} of the request it was given")


def _mutable(tool: ToolSpec) -> ToolSpec:
    return ToolSpec(tool.name, tool.description, copy.deepcopy(dict(tool.schema)))


def _differs(request: ProviderRequest, before: ProviderRequest, name: str) -> bool:
    return bool(getattr(request, name) != getattr(before, name))


async def _odd(case: Case) -> None:
    requests = {
        "no message at all": (),
        "an empty user message": (Message("user", ""),),
        "system messages only": (Message("system", "Be brief."),),
        "two user messages in a row": (Message("user", "One."), Message("user", "Two.")),
        "an assistant's message last": (*PROMPT, Message("assistant", "Tea is")),
        "a message without parts": (Message("user", ()),),
        "parts of text": (Message("user", (Text("What is"), Text(" tea?"))),),
        "an image": (Message("user", (Text("What is this?"), Image(_PIXEL))),),
        "an answer to a tool nobody called": (*PROMPT, Message("tool", "12 °C", tool_call_id="call-1")),
    }
    for what, messages in requests.items():
        for stream in (False, True):
            request = ProviderRequest(case.model, messages)
            try:
                await case.tried(request, on_delta=unheard if stream else None)
            except LLMOrchError:
                continue
            except Exception as error:  # any other class is a finding
                broken(f"a request with {what}{' (streamed)' if stream else ''}: {name_of(error)}")


async def _unknown_model(case: Case) -> None:
    for stream in (False, True):
        request = ProviderRequest("llmorch-no-such-model", PROMPT)
        error = await case.refusal(request, on_delta=unheard if stream else None)
        if error is None:
            skipped("the server answers whatever model is asked")
        if not isinstance(error, ProviderError):
            broken(f"a model that does not exist gave {name_of(error)}, which is no ProviderError")


async def _schema(case: Case) -> None:
    if not case.provider.capabilities(case.model).json_schema:
        skipped("json_schema=False is declared")
    for stream in (False, True):
        request = case.request("Describe tea.", output_schema=_SCHEMA)
        answer = await case.answer(request, stream=stream, where="a request with an output schema")
        try:
            value: object = json.loads(answer.text)
        except ValueError:
            broken(f"an answer to an output schema is no JSON: {answer.text[:80]!r}")
        if not isinstance(value, dict):
            broken(f"an answer to an object schema is {type(value).__name__}, not an object")


async def _tools(case: Case) -> None:
    if not case.provider.capabilities(case.model).tools:
        skipped("tools=False is declared")
    for stream in (False, True):
        pieces: list[str] = []
        request = ProviderRequest(case.model, (_ASK_TOOL,), tools=(_WEATHER,))
        where = "a request that offers a tool"
        answer = await case.answer(request, on_delta=pieces.append if stream else None, where=where)
        fault = fault_in_tool_calls(answer) or _fault_in_call(answer)
        if fault is None and "".join(pieces) not in ("", answer.text):
            fault = f"on_delta was given {''.join(pieces)!r}, but the text is {answer.text!r}"
        if fault:
            broken(f"{fault}{' (streamed)' if stream else ''}")


def _fault_in_call(answer: ProviderResponse) -> str | None:
    if not answer.tool_calls and not answer.text:
        return "the answer to a request that offers a tool has neither text nor tool calls"
    for call in answer.tool_calls:
        if call.name != _WEATHER.name:
            return f"the model calls {call.name!r}; only {_WEATHER.name!r} was offered"
        try:
            arguments: object = json.loads(call.arguments or "{}")
        except ValueError:
            return f"the arguments are no JSON text: {call.arguments!r}"
        if not isinstance(arguments, dict):
            return f"the arguments are {type(arguments).__name__}, not an object: {call.arguments!r}"
    return None


async def _tool_rounds(case: Case) -> None:
    if not case.provider.capabilities(case.model).tools:
        skipped("tools=False is declared")
    first = await case.answer(ProviderRequest(case.model, (_ASK_TOOL,), tools=(_WEATHER,)), where="a tool is offered")
    replay = cast("Mapping[str, Any]", first.raw.get("replay") or {})
    own = first.tool_calls or (ToolCall("call-1", "weather", '{"city": "Bergen"}'),)
    foreign = (
        ToolCall("toolu_01A:b/c|d=", "weather", '{"city": "Bergen"}'),
        ToolCall("x" * 80, "weather", '{"city": "Oslo"}'),
    )
    turns = {
        "its own tool calls and their results": Message("assistant", first.text, tool_calls=own, vendor=replay),
        "another vendor's tool calls and their results": Message(
            "assistant", "I ask twice.", tool_calls=foreign, vendor={"another-vendor": {"signed": [1]}}
        ),
    }
    for what, turn in turns.items():
        results = (Message("tool", "12 °C, rain", tool_call_id=call.id) for call in turn.tool_calls)
        messages = (_ASK_TOOL, turn, *results)
        for tools in ((_WEATHER,), ()):
            for stream in (False, True):
                request = ProviderRequest(case.model, messages, tools=tools)
                where = f"a conversation with {what}{'' if tools else ', and no tools any more'}"
                answer = await case.answer(request, stream=stream, where=where)
                if not answer.text and not answer.tool_calls:
                    broken(f"{where} was answered with neither text nor tool calls")


RULES = (
    Rule(
        "settings",
        "Every setting that capabilities() does not call unsupported is taken.",
        "Send it in the vendor's form, or name it in Capabilities.unsupported.",
        _settings,
    ),
    Rule(
        "extra",
        "Fields of extra go into the request as they are, and never change whether the answer is streamed.",
        "Merge request.extra into the body last, but set the vendor's stream field yourself; BadRequest for what is no "
        "JSON.",
        _extra,
    ),
    Rule(
        "unchanged",
        "complete() leaves the request as it was.",
        "Build the body from copies: the same request is sent again on a retry.",
        _unchanged,
    ),
    Rule(
        "odd-requests",
        "An odd request is answered, or refused with an error of llmorch.errors.",
        "Raise BadRequest for what the vendor does not take, and trust no type of what a server answers.",
        _odd,
    ),
    Rule(
        "unknown-model",
        "A model that does not exist gives a ProviderError.",
        "Raise BadRequest with the server's words and, where models() knows some, names that are like it.",
        _unknown_model,
    ),
    Rule(
        "schema",
        "With json_schema declared, an output schema gives JSON text.",
        "Send request.output_schema in the vendor's structured-output form, or declare json_schema=False: the schema "
        "then stands in the prompt.",
        _schema,
    ),
    Rule(
        "tools",
        "With tools declared, an offer of tools gives tool calls with an id, an offered name and JSON text, or text.",
        "Send request.tools in the vendor's form and read its calls, or declare tools=False.",
        _tools,
    ),
    Rule(
        "tool-rounds",
        "A conversation goes on after tool calls, its own or another vendor's, with tools offered or no longer.",
        "Map ids the vendor refuses to ones it takes, ignore keys of Message.vendor you did not write, and declare the "
        "tools used when a vendor demands it.",
        _tool_rounds,
        after=("made", "answers", "tools"),
    ),
)
