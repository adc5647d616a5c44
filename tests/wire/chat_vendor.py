"""What the tests of chat completions share: a transport that answers, and the bodies and streams it answers with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from llmorch.models.message import Message, ToolCall
from llmorch.providers._vendor import Vendor
from llmorch.requests import ProviderRequest, ProviderResponse, ToolSpec

KEY = "sk-canary-vendor-90b2"
HELLO = (Message("user", "Hello"),)
CALL = ToolCall("call_abc_1", "add", '{"a": 2}')
ROUND = (
    Message("user", "2+3?"),
    Message("assistant", "Let me see.", tool_calls=[CALL]),
    Message("tool", "5", tool_call_id="call_abc_1"),
)
ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


class Wire:
    """Answers every request with the next answer and keeps what was asked; bytes are a stream."""

    def __init__(self, *answers: dict[str, Any] | bytes | httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=answer)

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


async def ask(provider: Vendor, *, watch: Callable[[str], None] | None = None, **changes: Any) -> ProviderResponse:
    return await provider.complete(ProviderRequest(**{"model": "m", "messages": HELLO, **changes}), on_delta=watch)


async def streamed(provider: Vendor, **changes: Any) -> tuple[ProviderResponse, list[str]]:
    pieces: list[str] = []
    return await ask(provider, watch=pieces.append, **changes), pieces


def events(*chunks: dict[str, Any] | str, done: bool = True) -> bytes:
    """Chunks as a stream; text stands in it as it is, such as a comment."""
    lines = [chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}" for chunk in chunks]
    return ("".join(f"{line}\n\n" for line in lines) + ("data: [DONE]\n\n" if done else "")).encode()


def delta(*, finish: str | None = None, **parts: Any) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"index": 0, "delta": parts, "finish_reason": finish}]}


def whole(*, finish: str = "stop", usage: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "x", "model": "m-1", "choices": [choice], **({"usage": usage} if usage else {})}


def called(arguments: str = '{"a": 2}', *, id: str = "call_abc_1", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "add", "arguments": arguments}, **more}
