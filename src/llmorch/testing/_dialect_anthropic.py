"""Messages, as Anthropic's server says them.

Source: https://docs.anthropic.com/en/api/messages (2026-02), .../messages-streaming, .../models-list, .../errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._dialect_parts import Asked, Said, entries, event, fields, is_entry, loaded, slices

__all__ = ["asked", "error_body", "model_list", "stream", "whole"]

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def whole(said: Said) -> dict[str, Any]:
    """A message."""
    content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text or not said.calls else []
    for call in said.calls:
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": loaded(call.arguments.encode())})
    return {
        "id": "msg_mock",
        "type": "message",
        "role": "assistant",
        "model": said.model,
        "content": content,
        "stop_reason": _REASONS.get(said.reason, said.reason),
        "stop_sequence": None,
        "usage": _usage(said),
    }


def _usage(said: Said) -> dict[str, Any]:
    return {
        "input_tokens": said.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": said.counted,
    }


def stream(said: Said, pieces: Sequence[str], *, usage: bool, end: bool) -> list[bytes]:
    """Events; `end` stands for `message_delta` and `message_stop`."""
    start: dict[str, Any] = {**whole(said), "content": [], "stop_reason": None}
    start["usage"] = {**_usage(said), "output_tokens": 1}
    if not usage:
        del start["usage"]
    made = [_event("message_start", message=start), _event("ping")]
    index = 0
    if pieces or not said.calls:
        made.append(_event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
        for piece in pieces:
            made.append(_event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}))
        made.append(_event("content_block_stop", index=0))
        index = 1
    for place, call in enumerate(said.calls, index):
        block: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        made.append(_event("content_block_start", index=place, content_block=block))
        for part in ("", *slices(call.arguments)):
            delta = {"type": "input_json_delta", "partial_json": part}
            made.append(_event("content_block_delta", index=place, delta=delta))
        made.append(_event("content_block_stop", index=place))
    if end:
        final = {"stop_reason": _REASONS.get(said.reason, said.reason), "stop_sequence": None}
        counts = {"usage": {"output_tokens": said.counted}} if usage else {}
        made += [_event("message_delta", delta=final, **counts), _event("message_stop")]
    return made


def _event(kind: str, **fields: object) -> bytes:
    return event({"type": kind, **fields}, kind)


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """The answer of `/v1/models`."""
    listed = [
        {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names
    ]
    return {"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error."""
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}


def asked(method: str, path: str, body: bytes) -> Asked:
    """What a request to Anthropic's server asks for."""
    path = path.partition("?")[0]
    if method == "GET" and path.endswith("/v1/models"):
        return Asked("models")
    if method != "POST" or not path.endswith("/v1/messages"):
        return Asked("other")
    given = loaded(body)
    choice = fields(given.get("tool_choice"))
    tools = {
        str(tool["name"]): fields(tool.get("input_schema")) for tool in entries(given.get("tools")) if "name" in tool
    }
    if choice.get("type") == "tool":
        tools = {name: schema for name, schema in tools.items() if name == choice.get("name")}
    blocks = [block for message in entries(given.get("messages")) for block in entries(message.get("content"))]
    return Asked(
        "answer",
        is_streamed=given.get("stream") is True,
        model=str(given.get("model") or ""),
        tools={} if choice.get("type") == "none" else tools,
        has_results=any(block.get("type") == "tool_result" for block in blocks),
        schema=_schema(given),
    )


def _schema(given: dict[str, Any]) -> dict[str, Any] | None:
    """Of `output_config.format`, or of `output_format`, its name while it was a beta."""
    settings = given.get("output_config")
    shape = settings.get("format") if is_entry(settings) else given.get("output_format")
    schema = shape.get("schema") if is_entry(shape) else None
    return schema if is_entry(schema) else None
