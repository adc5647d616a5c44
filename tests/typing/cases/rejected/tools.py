"""What a checker must not let pass."""

from __future__ import annotations

from llmorch import Limit, Orchestrator, Payload, tool


@tool
def half(n: int) -> float:
    """Half of it."""
    return n / 2


half("three")  # error
Payload("ask", "Go.", tools=half)  # error
Payload("ask", "Go.", tools=["search"])  # error
Payload("ask", "Go.", max_tool_rounds="3")  # error
Orchestrator(limits={"openai": 5})  # error
Orchestrator(limits=Limit(concurrency=2))  # error
Orchestrator(budget=5)  # error
