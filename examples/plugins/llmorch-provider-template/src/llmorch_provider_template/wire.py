"""llama.cpp's wire format: a request as a body, a body as an answer. Nothing here knows of connections.

Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmorch import Text
from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContextTooLong,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from llmorch.ports import Message, ProviderRequest, ProviderResponse, Usage

# llmorch's names of settings on the left, the server's on the right; the others have the same name.
_SETTINGS = {"max_tokens": "n_predict"}
_REASONS = {"eos": "stop", "word": "stop", "limit": "length"}


def messages_of(request: ProviderRequest) -> list[dict[str, str]]:
    """The conversation for the server's chat template.

    Raises:
        BadRequest: It holds more than text.
    """
    return [{"role": message.role, "content": _text(message)} for message in request.messages]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    if not all(isinstance(part, Text) for part in message.content):
        raise BadRequest("llama.cpp's completion API takes text only; send images and files to another provider")
    return message.text


def body_of(request: ProviderRequest, prompt: str, *, stream: bool) -> bytes:
    """The body of a completion; `extra` overrides every field but `stream`.

    Raises:
        BadRequest: `extra` holds what is no JSON.
    """
    body: dict[str, Any] = {"prompt": prompt}
    for name, value in request.settings.given().items():
        body[_SETTINGS.get(name, name)] = value
    if request.output_schema is not None:
        body["json_schema"] = request.output_schema
    body |= {**request.extra, "stream": stream}
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the request cannot be written as JSON ({error}); check extra=") from None


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object that a server sent.

    Raises:
        BadAnswer: It is something else.
    """
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        start = body[:80].decode(errors="replace")
        raise BadAnswer(f"the server did not answer with a JSON object but with {start!r}; check base_url")
    return value


def response_of(last: Mapping[str, Any], text: object, model: str) -> ProviderResponse:
    """The answer, from the body or the last event of a stream.

    Raises:
        BadAnswer: There is no text in it.
    """
    if not isinstance(text, str):
        raise BadAnswer("the server's answer holds no text; check base_url")
    reason = last.get("stop_type")
    return ProviderResponse(
        text=text,
        usage=_usage(last.get("tokens_evaluated"), last.get("tokens_predicted")),
        finish_reason=_REASONS.get(reason, "other") if isinstance(reason, str) else "other",
        model=model,
        raw={"stop_type": reason if isinstance(reason, str) else None},
    )


def _usage(asked: object, answered: object) -> Usage | None:
    """The tokens as far as they are credible; None lets the engine estimate them."""
    if type(asked) is not int or type(answered) is not int or asked < 0 or answered < 0:
        return None
    return Usage(input_tokens=asked, output_tokens=answered, requests=1)


def error_of(status: int, headers: Mapping[str, str], body: bytes, *, key: str) -> ProviderError:
    """The error of the tree that an HTTP status stands for.

    Args:
        key: Taken out of the server's words: some servers repeat it.
    """
    words = body[:300].decode(errors="replace")
    if key:
        words = words.replace(key, "[key]")
    said = f"the server answered {status}: {words}"
    if status in (401, 403):
        return AuthenticationFailed(f"{said}; check api_key", status=status)
    if status == 413 or "exceed_context_size" in words:
        return ContextTooLong(f"{said}; shorten the prompt", status=status)
    if status == 429:
        return RateLimited(said, retry_after=_seconds(headers.get("retry-after")), status=status)
    if status >= 500:
        return ProviderUnavailable(f"{said}; try again later", status=status)
    if status >= 400:
        return BadRequest(f"{said}; the same request will fail again", status=status)
    return BadAnswer(f"{said}, which is no answer of llama.cpp; check base_url", status=status)


def error_in(event: Mapping[str, Any], data: bytes, *, key: str) -> ProviderError:
    """The error that an event in the middle of a stream stands for."""
    error = event["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return error_of(code if type(code) is int else 500, {}, data, key=key)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None
