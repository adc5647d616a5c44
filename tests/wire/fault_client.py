"""The OpenAI provider as the fault tests use it: with short timers, over each transport."""

from __future__ import annotations

import httpx

from llmorch.models.message import Message
from llmorch.providers._http import Http, Timers
from llmorch.providers.openai import OpenAI
from llmorch.requests import ProviderRequest, ProviderResponse

KEY = "sk-canary-7b1e0d2c94"
TRANSPORTS = ["pooled", "injected"]
SHORT = Timers(connect_s=2, total_s=10, stall_s=0.3, linger_s=0.2, tail_s=0.05, close_s=1)


def provider_on(url: str, transport: str = "pooled", timers: Timers = SHORT) -> OpenAI:
    """A provider whose timers a test can wait for."""
    given = httpx.AsyncHTTPTransport(trust_env=False) if transport == "injected" else None
    made = OpenAI(api_key=KEY, base_url=url)
    made._http_made = Http(url, "openai", transport=given, timers=timers)
    return made


async def ask(provider: OpenAI, *, stream: bool = False, timeout: float | None = 5) -> ProviderResponse:
    """One call; the pieces of a stream must add up to its text."""
    request = ProviderRequest("mock-model", (Message("user", "Say something."),), timeout=timeout)
    if not stream:
        return await provider.complete(request)
    pieces: list[str] = []
    answer = await provider.complete(request, on_delta=pieces.append)
    assert "".join(pieces) == answer.text
    return answer
