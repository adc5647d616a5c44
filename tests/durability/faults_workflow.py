"""A small workflow with every way of being paid for, and a provider that keeps its own book of what it was sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.lowlevel

from llmorch import Payload, Retry, Workflow, each, tool
from llmorch.errors import ProviderUnavailable
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, ToolCall, Usage

MODEL = "book:m"
SUBJECT = "tea"
OUTPUT = "last: Join [look: saw 3 leaves] with [each 0: Write of 0.|each 1: Write of 1.|each 2: Write of 2.]"

Sent = Callable[[ProviderRequest], Awaitable[None]]


def workflow(ran: list[str]) -> Workflow[Any]:
    """A call with a tool round, a function, a map of calls, one that must be tried again, a thread, and a last call.

    Args:
        ran: Told of each tool and function when it runs.
    """

    @tool
    def leaves(of: str) -> int:
        """Count the leaves."""
        ran.append("leaves")
        return len(of)

    async def numbers(seen: str) -> list[int]:
        ran.append("numbers")
        await anyio.lowlevel.checkpoint()
        return list(range(int(seen.split()[2])))

    def joined(texts: list[str]) -> str:
        ran.append("joined")
        return "|".join(texts)

    made: Workflow[Any] = Workflow("disturbed")
    subject = made.input("subject", str)
    quick = Retry(attempts=3, base=0.001, cap=0.001)
    seen = made.add(Payload("look", "Look at {{ subject }}.", tools=[leaves]), subject=subject)
    items = made.add(numbers, seen=seen)
    texts = made.map(Payload("each", "Write of {{ n }}.", retry=quick), name="each", n=each(items), concurrency=2)
    whole = made.add(joined, texts=texts)
    last = Payload("last", "Join [{{ seen }}] with [{{ whole }}]", retry=quick)
    return made.returns(made.add(last, seen=seen, whole=whole))


class Book:
    """A provider that answers by what it is asked, and notes what it was sent.

    Args:
        sent: Called with each request when it is on the wire.
    """

    name = "book"

    def __init__(self, sent: Sent | None = None) -> None:
        self.requests: list[ProviderRequest] = []
        self._sent = sent
        self._stumbled: set[str] = set()

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    @property
    def steps(self) -> Counter[str]:
        """How many requests came for each step."""
        return Counter(request.step or "" for request in self.requests)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        step = request.step or ""
        self.requests.append(request)
        if self._sent is not None:
            await self._sent(request)
        await anyio.lowlevel.checkpoint()
        if step == "each[1]" and step not in self._stumbled:
            self._stumbled.add(step)
            raise ProviderUnavailable("on purpose", provider=self.name, model=request.model)
        usage = Usage(10, 5, requests=1)
        if step != "look":
            name = step.replace("[", " ").replace("]", "")
            return ProviderResponse(f"{name}: {request.messages[-1].text}", (), usage)
        results = [message.text for message in request.messages if message.role == "tool"]
        if results:
            return ProviderResponse(f"look: saw {results[-1]} leaves", (), usage)
        call = ToolCall("t1", "leaves", json.dumps({"of": SUBJECT}))
        return ProviderResponse("", (call,), usage, "tool_calls")
