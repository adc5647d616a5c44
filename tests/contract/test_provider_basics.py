"""What every provider keeps to, whatever vendor it speaks to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llmorch.errors import LLMOrchError
from llmorch.models.message import Message
from llmorch.models.usage import Usage
from llmorch.ports import Provider
from llmorch.providers import Offline, OpenAI
from llmorch.requests import Capabilities, ProviderRequest, ProviderStatus
from llmorch.testing.mock_server import mock_server

PROMPT = (Message("system", "Be brief."), Message("user", "Summarize:\nTea is hot. Ice is cold. Rain is wet."))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with mock_server() as served:
        yield served


@pytest.fixture(params=["openai", "offline"])
def provider(request: pytest.FixtureRequest, url: str) -> OpenAI | Offline:
    makers: dict[str, Callable[[], OpenAI | Offline]] = {
        "openai": lambda: OpenAI(base_url=url),
        "offline": Offline,
    }
    return makers[request.param]()


@pytest.fixture
def model(provider: OpenAI | Offline) -> str:
    return "summary" if isinstance(provider, Offline) else "mock-model"


def test_it_satisfies_the_port_and_tells_its_abilities_without_a_loop(provider: Provider, model: str) -> None:
    assert isinstance(provider, Provider)
    assert provider.name
    assert isinstance(provider.capabilities(model), Capabilities)


def test_its_repr_names_it(provider: Provider) -> None:
    assert provider.name in repr(provider)


@pytest.mark.anyio
async def test_a_whole_answer_has_text_usage_and_model(provider: OpenAI | Offline, model: str) -> None:
    answer = await provider.complete(ProviderRequest(model, PROMPT))
    assert answer.text
    assert answer.finish_reason == "stop"
    assert answer.model
    assert isinstance(answer.usage, Usage)
    assert answer.usage.requests == 1
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    await provider.aclose()


@pytest.mark.anyio
async def test_the_pieces_of_a_stream_add_up_to_its_text(provider: OpenAI | Offline, model: str) -> None:
    pieces: list[str] = []
    answer = await provider.complete(ProviderRequest(model, PROMPT), on_delta=pieces.append)
    assert "".join(pieces) == answer.text
    assert answer.text
    assert all(pieces)
    await provider.aclose()


@pytest.mark.anyio
async def test_it_lists_its_models_and_says_that_it_works(provider: OpenAI | Offline, model: str) -> None:
    assert model in await provider.models()
    status = await provider.check(detailed=True)
    assert isinstance(status, ProviderStatus)
    assert status.ok
    assert status.detail
    await provider.aclose()


@pytest.mark.anyio
async def test_closing_twice_is_harmless(provider: OpenAI | Offline, model: str) -> None:
    await provider.complete(ProviderRequest(model, PROMPT))
    await provider.aclose()
    await provider.aclose()


@pytest.mark.anyio
async def test_an_error_of_a_call_is_one_of_ours(provider: OpenAI | Offline) -> None:
    broken = OpenAI(base_url="http://127.0.0.1:1/v1") if isinstance(provider, OpenAI) else provider
    with pytest.raises(LLMOrchError, match=provider.name):
        await broken.complete(ProviderRequest("no-such-model", PROMPT))
