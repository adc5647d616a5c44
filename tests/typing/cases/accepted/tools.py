"""Tools keep the types of their functions, and payloads take them."""

from __future__ import annotations

from typing import assert_type

from llmorch import Budget, Limit, Orchestrator, Payload, RunContext, tool
from llmorch.providers import Anthropic, Gemini, Ollama


@tool
def half(n: int) -> float:
    """Half of it."""
    return n / 2


@tool(timeout=5, name="look_up")
async def look(word: str, context: RunContext) -> list[str]:
    """Look a word up."""
    return [word, context.step]


def plain(word: str) -> str:
    return word


assert_type(half(3), float)

ask = Payload("ask", "Go.", tools=[half, look, plain], max_tool_rounds=3, cache=60)
assert_type(ask, Payload[str])
typed = Payload("ask", "Go.", output=int, tools=[half])
assert_type(typed, Payload[int])
changed = typed.using(tools=[look], cache=False)
assert_type(changed, Payload[int])


async def main(context: RunContext) -> None:
    assert_type(await look("tea", context), list[str])
    async with Orchestrator(
        providers=[Anthropic(api_key="k", cache_prompt=True), Gemini(api_key="k"), Ollama(options={"num_ctx": 8192})],
        limits={"anthropic": Limit(requests_per_minute=50)},
        budget=Budget(usd=1),
        cache=True,
    ) as orchestrator:
        run = await orchestrator.run(typed, budget=Budget(calls=3))
        assert_type(run.output, int)
