"""Chat completions, as a server says them.

Source: https://platform.openai.com/docs/api-reference/chat (2026-02), .../chat-streaming, .../models/list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._dialect_parts import Asked, Said, entries, event, fields, is_entry, loaded, slices

__all__ = ["asked", "chunks", "error_body", "model_list", "stream", "whole"]

_KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def whole(said: Said) -> dict[str, Any]:
    """A chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or (None if said.calls else "")}
    if said.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    return {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 0,
        "model": said.model,
        "choices": [{"index": 0, "message": message, "finish_reason": said.reason}],
        "usage": _usage(said),
    }


def stream(said: Said, pieces: Sequence[str], *, usage: bool, end: bool) -> list[bytes]:
    """Chunks; `end` stands for the chunk with the finish reason and for `[DONE]`."""
    return chunks(said, pieces, reason=said.reason if end else None, usage=usage, done=end)


def chunks(said: Said, pieces: Sequence[str], *, reason: str | None, usage: bool, done: bool) -> list[bytes]:
    """Chunks, with each part of their end to be left out.

    Args:
        reason: None leaves the finishing chunk out.
        usage: Whether a chunk with the usage follows.
        done: Whether `[DONE]` ends it.
    """
    head = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": said.model}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    made = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
    for index, call in enumerate(said.calls):
        opening = {"name": call.name, "arguments": ""}
        made.append(chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": opening}]}))
        for part in slices(call.arguments):
            made.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    if reason is not None:
        made.append(chunk({}, reason))
    if usage:
        made.append(event({**head, "choices": [], "usage": _usage(said)}))
    return [*made, b"data: [DONE]\n\n"] if done else made


def _usage(said: Said) -> dict[str, Any]:
    return {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": said.counted,
        "total_tokens": said.input_tokens + said.counted,
    }


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """The answer of `/models`."""
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "mock"} for name in names]
    return {"object": "list", "data": listed}


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error; its code is null, as OpenAI's mostly is."""
    kind = _KINDS.get(status, "rate_limit_error" if status == 429 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def asked(method: str, path: str, body: bytes) -> Asked:
    """What a request to a chat completions server asks for."""
    path = path.partition("?")[0]
    if method == "GET" and path.endswith("/models"):
        return Asked("models")
    if method != "POST" or not path.endswith("/chat/completions"):
        return Asked("other")
    given = loaded(body)
    choice = given.get("tool_choice")
    tools = {
        str(function["name"]): fields(function.get("parameters"))
        for tool in entries(given.get("tools"))
        if "name" in (function := fields(tool.get("function")))
    }
    if is_entry(choice):
        tools = {name: schema for name, schema in tools.items() if name == fields(choice.get("function")).get("name")}
    return Asked(
        "answer",
        is_streamed=given.get("stream") is True,
        model=str(given.get("model") or ""),
        tools={} if choice == "none" else tools,
        has_results=any(message.get("role") == "tool" for message in entries(given.get("messages"))),
        schema=_schema(given.get("response_format")),
    )


def _schema(given: Any) -> dict[str, Any] | None:  # Any: whatever JSON a client sent
    if not is_entry(given):
        return None
    if given.get("type") == "json_schema" and is_entry(inner := given.get("json_schema")):
        schema = inner.get("schema")
        return schema if is_entry(schema) else {"type": "object"}
    return {"type": "object"} if given.get("type") == "json_object" else None
