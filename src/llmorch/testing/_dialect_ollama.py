"""`/api/chat`, as an Ollama server says it.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md (2026-02).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._dialect_parts import Asked, Said, compact, entries, fields, is_entry, loaded

__all__ = ["asked", "error_body", "model_list", "stream", "whole"]

_REASONS = {"tool_calls": "stop", "content_filter": "stop"}
_AT = "1970-01-01T00:00:00Z"


def whole(said: Said) -> dict[str, Any]:
    """One object that is done."""
    return _line(said, _message(said.text, said), done=True, usage=True)


def _message(text: str, said: Said | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant", "content": text}
    if said is not None and said.calls:
        made["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": loaded(call.arguments.encode())}}
            for call in said.calls
        ]
    return made


def _line(said: Said, message: dict[str, Any], *, done: bool, usage: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"model": said.model, "created_at": _AT, "message": message, "done": done}
    if done:
        made["done_reason"] = _REASONS.get(said.reason, said.reason)
    if done and usage:
        made |= {
            "total_duration": 3_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": said.input_tokens,
            "prompt_eval_duration": 1_000_000,
            "eval_count": said.counted,
            "eval_duration": 1_000_000,
        }
    return made


def stream(said: Said, pieces: Sequence[str], *, usage: bool, end: bool) -> list[bytes]:
    """Lines of JSON; calls come whole, and the last line is done."""
    made = [_line(said, _message(piece), done=False, usage=False) for piece in pieces]
    if said.calls:
        made.append(_line(said, _message("", said), done=False, usage=False))
    if end:
        made.append(_line(said, _message(""), done=True, usage=usage))
    return [compact(line).encode() + b"\n" for line in made]


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """The answer of `/api/tags`."""
    return {
        "models": [
            {
                "name": name,
                "model": name,
                "modified_at": _AT,
                "size": 1,
                "digest": "0" * 64,
                "details": {"format": "gguf", "family": "mock", "parameter_size": "1M", "quantization_level": "Q4_0"},
            }
            for name in names
        ]
    }


def error_body(_status: int, message: str) -> dict[str, Any]:
    """An error is its text."""
    return {"error": message}


def asked(method: str, path: str, body: bytes) -> Asked:
    """What a request to an Ollama server asks for; it streams unless told not to."""
    path = path.partition("?")[0]
    if method == "GET" and path.endswith("/api/tags"):
        return Asked("models")
    if method != "POST" or not path.endswith("/api/chat"):
        return Asked("other")
    given = loaded(body)
    shape = given.get("format")
    return Asked(
        "answer",
        is_streamed=given.get("stream") is not False,
        model=str(given.get("model") or ""),
        tools={
            str(function["name"]): fields(function.get("parameters"))
            for tool in entries(given.get("tools"))
            if "name" in (function := fields(tool.get("function")))
        },
        has_results=any(message.get("role") == "tool" for message in entries(given.get("messages"))),
        schema=shape if is_entry(shape) else {"type": "object"} if shape == "json" else None,
    )
