"""Whole workflows over each wire format: typed answers of every form, tools, and both at once, streamed or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field

from llmorch import Orchestrator, Payload, StepDelta, ToolFinished, tool
from llmorch.ports import Provider
from llmorch.providers import Anthropic, Gemini, Ollama, OpenAI
from llmorch.testing.mock_server import mock_server

pytestmark = pytest.mark.anyio

KEY = "key-for-the-mock"
NAMES: tuple[Literal["openai", "anthropic", "gemini", "ollama"], ...] = ("openai", "anthropic", "gemini", "ollama")
MAKERS: dict[str, tuple[Callable[[str], Provider], str]] = {
    "openai": (lambda url: OpenAI(base_url=url, api_key=KEY, name="vendor"), "gpt-5-mini"),
    "anthropic": (lambda url: Anthropic(base_url=url, api_key=KEY, name="vendor"), "claude-sonnet-4-5"),
    "gemini": (lambda url: Gemini(base_url=url, api_key=KEY, name="vendor"), "gemini-3-pro"),
    "ollama": (lambda url: Ollama(base_url=url, name="vendor"), "qwen3"),
}


class Inner(BaseModel):
    kind: Literal["a", "b"]
    size: int = Field(ge=0)


class Model(BaseModel):
    name: str
    inner: Inner
    more: list[Inner] = []
    maybe: float | None = None


@dataclass
class Point:
    x: int
    y: int


class Named(TypedDict):
    name: str
    count: int


SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["word", "n"],
    "additionalProperties": False,
}
TYPES: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "model": (Model, lambda value: isinstance(value, Model) and isinstance(value.inner, Inner)),
    "dataclass": (Point, lambda value: isinstance(value, Point)),
    "typed dict": (Named, lambda value: isinstance(value, dict) and value.keys() == {"name", "count"}),
    "list of models": (list[Inner], lambda value: isinstance(value, list)),
    "union": (Inner | int, lambda value: isinstance(value, Inner | int)),
    "literal": (Literal["yes", "no"], lambda value: value in ("yes", "no")),
    "number": (int, lambda value: isinstance(value, int)),
    "mapping": (dict[str, int], lambda value: isinstance(value, dict)),
    "json schema": (SCHEMA, lambda value: value.keys() == {"word", "n"}),
}


# The mock reads no words, and these say their schema in words: free keys, and a schema beside tools.
SAID_IN_WORDS = {("anthropic", "mapping"), ("ollama", "tools")}


@pytest.fixture(scope="module")
def urls() -> Generator[Mapping[str, str]]:
    with ExitStack() as servers:
        yield {name: servers.enter_context(mock_server(dialect=name, tokens=3)) for name in NAMES}


@pytest.fixture
def vendor(request: pytest.FixtureRequest, urls: Mapping[str, str]) -> tuple[Callable[[], Provider], str]:
    make, model = MAKERS[request.param]
    return (lambda: make(urls[request.param])), f"vendor:{model}"


@pytest.mark.parametrize(
    ("vendor", "form"),
    [(vendor, form) for vendor in MAKERS for form in TYPES if (vendor, form) not in SAID_IN_WORDS],
    indirect=["vendor"],
)
async def test_an_answer_comes_back_in_its_type(vendor: tuple[Callable[[], Provider], str], form: str) -> None:
    make, model = vendor
    output, fits = TYPES[form]
    async with Orchestrator(providers=[make()]) as orchestrator:
        payload: Payload[Any] = Payload("ask", "Give one.", model=model, output=output)
        run = await orchestrator.run(payload)
        assert fits(run.output), run.output
        async with orchestrator.stream(payload) as events:
            async for _ in events:
                pass
        assert fits(events.run.output)
        response = run.steps["ask"].response
        assert response is not None
        assert response.usage.input_tokens > 0
        assert response.finish_reason == "stop"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("vendor", "typed"),
    [
        (vendor, typed)
        for vendor in MAKERS
        for typed in (False, True)
        if not typed or (vendor, "tools") not in SAID_IN_WORDS
    ],
    indirect=["vendor"],
)
async def test_tools_are_called_and_their_results_go_back(
    vendor: tuple[Callable[[], Provider], str], streamed: bool, typed: bool
) -> None:
    make, model = vendor
    used: list[tuple[str, int]] = []

    @tool
    async def note(word: Literal["tea"], times: int = 1) -> str:
        """Note a word.

        Args:
            word: The word.
            times: How often.
        """
        used.append((word, times))
        return f"noted {word}"

    @tool
    def count(words: list[str]) -> int:
        """Count words."""
        used.append(("count", len(words)))
        return len(words)

    payload: Payload[Any] = Payload(
        "ask", "Use both.", model=model, tools=[note, count], output=Inner if typed else str
    )
    async with Orchestrator(providers=[make()]) as orchestrator:
        if streamed:
            deltas: list[str] = []
            async with orchestrator.stream(payload) as events:
                async for event in events:
                    if isinstance(event, StepDelta):
                        deltas.append(event.text)
            run = events.run
            assert deltas
        else:
            run = await orchestrator.run(payload)
        assert run.status == "succeeded", run.error
        assert isinstance(run.output, Inner if typed else str)
        assert sorted(used) in ([("count", 0), ("tea", 1)], [("count", 1), ("tea", 1)])
        first, last = run.steps["ask"].calls
        assert [use.tool for use in first.tools] == ["note", "count"]
        assert first.tools[0].result == "noted tea"
        assert last.tools == ()
        log = [event async for event in orchestrator.attach(run.id).events()]
        assert sum(isinstance(event, ToolFinished) and event.error is None for event in log) == 2
