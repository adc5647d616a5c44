"""What the Azure provider sends, and how it reads what comes back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llmorch.errors import BadRequest, ContentRefused
from llmorch.models.secret import Secret
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.azure import Azure
from tests.wire.chat_vendor import KEY, Wire, ask, delta, events, streamed, whole

HOME = "https://acme.openai.azure.com"


def azure(wire: Wire, base_url: str = HOME, **options: Any) -> Azure:
    return Azure(base_url=base_url, transport=wire.transport, **{"api_key": KEY, **options})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("base_url", "api_version", "expected"),
    [
        (HOME, None, "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2025-04-01-preview"),
        (f"{HOME}/", "2024-10-21", "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21"),
        (f"{HOME}/openai/v1", None, "/openai/v1/chat/completions"),
        (f"{HOME}/openai/v1/", "preview", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
async def test_the_model_is_a_deployment_in_both_forms_of_the_api(
    base_url: str, api_version: str | None, expected: str
) -> None:
    wire = Wire(whole(content="hi"))
    await ask(azure(wire, base_url, api_version=api_version), model="my gpt/4", settings=Settings(max_tokens=7))
    assert wire.requests[0].url.raw_path.decode() == expected
    assert wire.sent == {
        "model": "my gpt/4",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 7,
    }


@pytest.mark.anyio
async def test_a_key_has_a_header_of_its_own_and_a_token_is_a_bearer_token() -> None:
    wire = Wire(whole(content="hi"))
    for key in (KEY, Secret(KEY)):
        await ask(azure(wire, api_key=key))
        assert wire.requests[-1].headers["api-key"] == KEY
        assert "authorization" not in wire.requests[-1].headers
    await ask(azure(wire, api_key=lambda: KEY))
    assert wire.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert "api-key" not in wire.requests[-1].headers


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "goes_along"),
    [
        ("acme.openai.azure.com", True),
        ("acme.services.ai.azure.com", True),
        ("acme.cognitiveservices.azure.com", True),
        ("openai.azure.com.evil.example", False),
        ("evilopenai.azure.com", False),
    ],
)
async def test_a_stored_key_goes_only_to_azures_hosts(host: str, goes_along: bool) -> None:
    class Stored:
        def get(self, name: str) -> Secret:
            assert name == "AZURE_OPENAI_API_KEY"
            return Secret(KEY)

    wire = Wire(whole(content="hi"))
    provider = azure(wire, f"https://{host}", api_key=None)
    assert provider.missing_credential() == ("AZURE_OPENAI_API_KEY" if goes_along else None)
    provider.use_credentials(Stored())
    await ask(provider)
    assert ("api-key" in wire.requests[0].headers) is goes_along


def test_an_endpoint_is_demanded_with_its_shape() -> None:
    with pytest.raises(ValueError, match=r"base_url=.*'https://NAME\.openai\.azure\.com'"):
        Azure()
    with pytest.raises(ValueError, match="api_version"):
        Azure(base_url=HOME, api_version="2024&x=1")


@pytest.mark.anyio
async def test_a_prompt_stopped_by_the_filter_is_refused_content() -> None:
    text = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"jailbreak": {"filtered": True}}}
    for code in ("content_filter", None, "400"):
        body = {"error": {"message": text, "code": code, "param": "prompt", "status": 400, "innererror": inner}}
        with pytest.raises(ContentRefused, match="content management policy") as caught:
            await ask(azure(Wire(httpx.Response(400, json=body))))
        assert caught.value.status == 400


@pytest.mark.anyio
async def test_an_answer_stopped_by_the_filter_is_refused_content() -> None:
    stream = events(delta(content="Take two"), delta(finish="content_filter"))
    with pytest.raises(ContentRefused) as caught:
        await streamed(azure(Wire(stream)))
    assert caught.value.text == "Take two"


@pytest.mark.anyio
async def test_chunks_of_the_filter_are_no_content() -> None:
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    stream = events(
        {
            "id": "",
            "model": "",
            "object": "",
            "choices": [],
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": safe}],
        },
        delta(role="assistant", content="", refusal=None) | {"id": "chatcmpl-1"},
        delta(content="Hi"),
        {"id": "", "model": "", "choices": [{"index": 0, "finish_reason": None, "content_filter_results": safe}]},
        delta(finish="stop"),
        {"choices": [], "model": "m-1", "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
    )
    answer, pieces = await streamed(azure(Wire(stream)))
    assert (answer.text, pieces, answer.finish_reason) == ("Hi", ["Hi"], "stop")
    assert (answer.model, answer.raw["id"]) == ("m-1", "chatcmpl-1")
    assert answer.usage == Usage(3, 1, requests=1)


@pytest.mark.anyio
async def test_a_deployment_that_is_not_there_is_not_compared_with_base_models() -> None:
    missing = {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}
    wire = Wire(httpx.Response(404, json=missing))
    with pytest.raises(BadRequest, match="name of a deployment"):
        await ask(azure(wire))
    assert len(wire.requests) == 1


@pytest.mark.anyio
async def test_a_check_asks_a_deployment_only_when_one_is_named() -> None:
    listed = {"data": [{"id": "gpt-4o"}, {"id": "o3"}]}
    wire = Wire(listed)
    status = await azure(wire).check(detailed=True)
    assert status.ok
    assert status.detail.splitlines()[1] == "no deployment to ask: name one with deployments="
    assert [sent.url.raw_path for sent in wire.requests] == [b"/openai/models?api-version=2025-04-01-preview"]
    wire = Wire(listed, whole(content="hi"))
    status = await azure(wire, deployments={"mine": "gpt-4o"}).check(detailed=True)
    assert status.ok
    assert wire.requests[1].url.path == "/openai/deployments/mine/chat/completions"
    refused = Wire(httpx.Response(401, json={"error": {"code": "401", "message": "Access denied"}}))
    status = await azure(refused).check(detailed=True)
    assert not status.ok
    assert "Access denied" in status.detail


def test_nothing_is_claimed_of_a_deployment_unless_it_is_told_what_it_holds() -> None:
    provider = Azure(base_url=HOME, deployments={"mine": "o3"})
    assert "temperature" in provider.capabilities("mine").unsupported
    assert not provider.capabilities("o3").unsupported
    assert provider.capabilities("o3").context_tokens is None
