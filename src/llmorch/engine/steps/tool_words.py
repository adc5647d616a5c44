"""Tools in words, for models without native tool calling: how they are told, and how a call is found in an answer.

The model is asked to answer with one JSON object, `{"tool_calls": [{"name": ..., "arguments": {...}}]}`, when it wants
a tool. Anything else is its answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ... import _json
from ...models.message import Message, ToolCall
from ...ports import ProviderResponse
from ...requests import ToolSpec
from ...templates.bounds import is_list, is_object

__all__ = ["calls_in", "results_in_words", "told_in_words", "wish_in_words"]

_KEY = "tool_calls"
_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?```", re.DOTALL)


def told_in_words(messages: tuple[Message, ...], tools: Sequence[ToolSpec]) -> tuple[Message, ...]:
    """The prompt with the tools described in its system message."""
    described = "\n".join(
        _json.dumps({"name": tool.name, "description": tool.description, "arguments": tool.schema}) for tool in tools
    )
    text = (
        "You can use tools. To use one or several, answer with nothing but this JSON object:\n"
        '{"tool_calls": [{"name": "<tool>", "arguments": {<arguments>}}]}\n'
        "You are then given their results. When you need no tool, answer without that object.\n"
        f"The tools, with the JSON schema of their arguments:\n{described}"
    )
    head = messages[0] if messages else None
    if head is not None and head.role == "system":
        return (Message("system", f"{head.text}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)


def calls_in(response: ProviderResponse, number: int) -> ProviderResponse:
    """The answer with the tool calls that stand in its text; `number` is the call's, and goes into their ids."""
    wished = _wish(response.text)
    if not wished:
        return response
    calls = tuple(
        ToolCall(f"call_{number}_{index}", name, arguments) for index, (name, arguments) in enumerate(wished, 1)
    )
    return replace(response, tool_calls=calls, finish_reason="tool_calls")


def _wish(text: str) -> list[tuple[str, str]]:
    if f'"{_KEY}"' not in text:
        return []
    for candidate in (text, *_FENCED.findall(text)):
        try:
            parsed = _json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        wished = _read(parsed)
        if wished:
            return wished
    return []


def _read(parsed: Any) -> list[tuple[str, str]]:  # Any: whatever JSON the model wrote
    calls = parsed[_KEY] if is_object(parsed) and parsed.keys() == {_KEY} else None
    wished: list[tuple[str, str]] = []
    for call in calls if is_list(calls) else ():
        if not is_object(call) or not isinstance(call.get("name"), str):
            return []
        arguments: Any = call.get("arguments", {})  # Any: as above
        wished.append((call["name"], arguments if isinstance(arguments, str) else _json.dumps(arguments)))
    return wished


def wish_in_words(calls: Sequence[ToolCall]) -> str:
    """Tool calls that another model made natively, as this protocol writes them."""
    return _json.dumps({_KEY: [{"name": call.name, "arguments": call.arguments} for call in calls]})


def results_in_words(calls: Sequence[ToolCall], results: Sequence[str]) -> str:
    """The results of a turn as one text."""
    return "\n\n".join(f"Result of {call.name}:\n{result}" for call, result in zip(calls, results, strict=True))
