"""generateContent, as Google's server says it.

Source: https://ai.google.dev/api/generate-content (2026-02), https://ai.google.dev/api/models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ._dialect_parts import Asked, Said, entries, event, fields, is_entry, is_list, loaded

__all__ = ["asked", "error_body", "model_list", "stream", "whole"]

_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ARGUMENTS = ("parametersJsonSchema", "parameters_json_schema", "parameters")  # the second is the official SDK's
_PATH = re.compile(r"/(?:models|tunedModels)/([^/:]+):(generateContent|streamGenerateContent)$")


def whole(said: Said) -> dict[str, Any]:
    """A response with one candidate."""
    parts: list[dict[str, Any]] = [{"text": said.text}] if said.text or not said.calls else []
    return _response(said, [*parts, *_calls(said)], reason=said.reason, usage=True)


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"functionCall": {"id": call.id, "name": call.name, "args": loaded(call.arguments.encode())}}
        for call in said.calls
    ]


def _response(said: Said, parts: list[dict[str, Any]], *, reason: str, usage: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = _REASONS.get(reason, reason)
    made: dict[str, Any] = {"candidates": [candidate], "modelVersion": said.model, "responseId": "mock"}
    if usage:
        made["usageMetadata"] = {
            "promptTokenCount": said.input_tokens,
            "candidatesTokenCount": said.counted,
            "totalTokenCount": said.input_tokens + said.counted,
        }
    return made


def stream(said: Said, pieces: Sequence[str], *, usage: bool, end: bool) -> list[bytes]:
    """Responses, each with a piece; a call comes whole, and the last response holds the finish reason."""
    made = [event(_response(said, [{"text": piece}], reason="", usage=usage)) for piece in pieces]
    made += [event(_response(said, [part], reason="", usage=usage)) for part in _calls(said)]
    if end:
        made.append(event(_response(said, [{"text": ""}], reason=said.reason, usage=usage)))
    return made


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """The answer of `/v1beta/models`."""
    methods = ["generateContent", "countTokens"]
    return {
        "models": [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names
        ]
    }


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error."""
    word = _WORDS.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    return {"error": {"code": status, "message": message, "status": word}}


def asked(method: str, path: str, body: bytes) -> Asked:
    """What a request to Google's server asks for; whether it wants a stream stands in the path."""
    path = path.partition("?")[0]
    if method == "GET" and path.endswith("/models"):
        return Asked("models")
    found = _PATH.search(path)
    if method != "POST" or found is None:
        return Asked("other")
    given = loaded(body)
    tools = {
        str(function["name"]): fields(next((function[name] for name in _ARGUMENTS if name in function), None))
        for tool in entries(given.get("tools"))
        for function in entries(tool.get("functionDeclarations"))
        if "name" in function
    }
    calling = fields(fields(given.get("toolConfig")).get("functionCallingConfig"))
    allowed = calling.get("allowedFunctionNames")
    if is_list(allowed):
        tools = {name: schema for name, schema in tools.items() if name in allowed}
    parts = [part for content in entries(given.get("contents")) for part in entries(content.get("parts"))]
    return Asked(
        "answer",
        is_streamed=found[2] == "streamGenerateContent",
        model=found[1],
        tools={} if calling.get("mode") == "NONE" else tools,
        has_results=any("functionResponse" in part for part in parts),
        schema=_schema(given.get("generationConfig")),
    )


def _schema(given: Any) -> dict[str, Any] | None:  # Any: whatever JSON a client sent
    settings = fields(given)
    for name in ("responseJsonSchema", "responseSchema"):
        if is_entry(schema := settings.get(name)):
            return schema
    return {"type": "object"} if settings.get("responseMimeType") == "application/json" else None
