"""A report tells what a run did, and nothing a model wrote can break out of its place in it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import (
    BadRequest,
    Block,
    Default,
    Message,
    Orchestrator,
    Payload,
    Price,
    Retry,
    Run,
    Text,
    Workflow,
    each,
)
from llmorch.models.message import Image
from llmorch.report import as_dict, html, markdown
from llmorch.report_view import chain, content_of, span
from llmorch.testing import ScriptedProvider


class Facts(BaseModel):
    title: str
    claims: list[str]


async def run_of(workflow: Workflow[Any], script: dict[str, object], /, **inputs: Any) -> Run[Any]:
    provider = ScriptedProvider(script)
    prices = {"scripted:m": Price(input=Decimal(1), output=Decimal(2))}
    async with Orchestrator(model="scripted:m", providers=[provider], prices=prices) as orchestrator:
        return await orchestrator.run(workflow, inputs, tags=["night|ly"], metadata={"for": "Ada"})


def talk() -> Workflow[Any]:
    voice = Block("voice", "You are brief.", role="system")
    return Workflow.of(
        Payload("outline", voice, "Outline a talk on {{ topic }}."),
        Payload("talk", "Write it:\n{{ outline }}"),
        name="talk",
    )


def fences(page: str) -> list[tuple[str, str]]:
    """Every fenced block as CommonMark reads it: info string and content."""
    found: list[tuple[str, str]] = []
    lines = iter(page.splitlines())
    for line in lines:
        opening = re.fullmatch(r"(`{3,})([^`]*)", line)
        if opening is None:
            continue
        inside: list[str] = []
        for inner in lines:
            closing = re.fullmatch(r"(`{3,})\s*", inner)
            if closing is not None and len(closing[1]) >= len(opening[1]):
                break
            inside.append(inner)
        else:
            raise AssertionError("a fence is never closed")
        found.append((opening[2], "\n".join(inside)))
    return found


@pytest.mark.anyio
async def test_the_page_holds_status_figures_prompts_and_answers() -> None:
    run = await run_of(talk(), {"outline": "1. Begin", "talk": "Good evening."}, topic="tea")
    page = markdown(run)
    assert page == run.report()
    assert page.startswith("# talk: succeeded\n")
    texts = [text for _, text in fences(page)]
    for expected in (
        "tea",
        "You are brief.",
        "Outline a talk on tea.",
        "1. Begin",
        "Write it:\n1. Begin",
        "Good evening.",
    ):
        assert expected in texts
    assert f"| Run | `{run.id}` |" in page
    assert "| Calls | 2 |" in page
    assert "| Tags | night\\|ly |" in page
    assert "| Metadata | for: Ada |" in page
    assert ("mermaid", "flowchart TD") in [(info, text.splitlines()[0]) for info, text in fences(page)]
    (total,) = re.findall(r"\| \*\*total\*\* .*", page)
    assert f"{run.usage.input_tokens:,} + {run.usage.output_tokens:,}" in total
    assert "$<0.0001" in total


@pytest.mark.anyio
async def test_what_a_model_writes_cannot_close_its_fence() -> None:
    hostile = "```\n# heading\n`````\n| a | b |\n~~~\n"
    run = await run_of(talk(), {"outline": hostile, "talk": "`" * 40}, topic="x\n```\n## No heading")
    page = markdown(run)
    outside = list(page)
    contents = [text for _, text in fences(page)]
    assert hostile in contents
    assert "`" * 40 in contents
    assert outside
    headings = [line for line in strip_fences(page).splitlines() if line.startswith("#")]
    assert headings == [
        "# talk: succeeded", "## Output", "## Inputs", "## Diagram", "## Steps", "### `outline`", "### `talk`",
    ]  # fmt: skip


def strip_fences(page: str) -> str:
    """The page without its fenced blocks."""
    kept: list[str] = []
    lines = iter(page.splitlines())
    for line in lines:
        opening = re.fullmatch(r"(`{3,})[^`]*", line)
        if opening is None:
            kept.append(line)
            continue
        for inner in lines:
            if re.fullmatch(rf"`{{{len(opening[1])},}}\s*", inner):
                break
    return "\n".join(kept)


@pytest.mark.anyio
async def test_long_texts_are_cut_and_the_cut_is_counted() -> None:
    run = await run_of(talk(), {"outline": "a" * 5000, "talk": "end"}, topic="tea")
    assert "(1,000 more characters are left out.)" in markdown(run)
    assert "a" * 4001 not in markdown(run)
    assert "(4,990 more characters are left out.)" in markdown(run, max_characters=10)
    assert "left out" not in markdown(run, max_characters=None)
    assert "a" * 5000 in markdown(run, max_characters=None)


@pytest.mark.anyio
async def test_a_failed_step_shows_its_prompt_its_calls_and_why_and_its_sibling_its_answer() -> None:
    workflow = Workflow("two", on_error="skip")
    workflow.add(Payload("bad", "Try {{ topic }}.", retry=Retry(attempts=1)))
    good = workflow.add(Payload("good", "Say {{ topic }}."))
    workflow.add(Payload("after", "More: {{ bad }}"))
    workflow.returns(good)
    run = await run_of(workflow, {"bad": BadRequest("no such <model>"), "good": "fine"}, topic="tea")
    page = markdown(run)
    assert page.startswith("# two: partial\n")
    section = page.partition("### `bad`")[2].partition("### ")[0]
    assert "Try tea." in section
    assert "Call 1 failed:" in section
    assert "no such <model>" in section
    assert "fine" in page.partition("### `good`")[2]
    assert "**skipped**" in page.partition("### `after`")[2]
    failures = page.partition("## Failures")[2]
    assert "- `bad`: BadRequest: " in failures
    assert "no such \\<model\\>" in failures


@pytest.mark.anyio
async def test_a_function_that_raises_is_named_once_with_its_error() -> None:
    def divide(topic: str) -> float:
        return 1 / len(topic)

    run = await run_of(Workflow.of(divide, name="w"), {}, topic="")
    page = markdown(run)
    assert page.startswith("# w: failed\n")
    assert "## Output" not in page
    error = next(text for _, text in fences(page.partition("## Error")[2]))
    assert error.count("ZeroDivisionError: division by zero") == 1
    assert "Step 'divide'" in error


@pytest.mark.anyio
async def test_items_of_a_map_are_listed_and_a_failed_item_points_to_its_step() -> None:
    check = Workflow.of(Payload("ask", "Check {{ claim }}"), name="check")
    workflow = Workflow("checks")
    facts = workflow.add(Payload("facts", "Read {{ topic }}", output=Facts))
    workflow.returns(workflow.map(check, claim=each(facts["claims"]), on_error=Default("?")))
    script = {"facts": Facts(title="T", claims=["a", "b"]), "check[0]/ask": "yes", "check[1]/ask": BadRequest("no")}
    run = await run_of(workflow, script, topic="tea")
    page = markdown(run)
    paths = re.findall(r"^### `(.*)`$", page, re.MULTILINE)
    assert paths == ["facts", "check", "check[0]", "check[0]/ask", "check[1]", "check[1]/ask"]
    assert "- `check[1]`: because of `check[1]/ask`" in page
    assert '["yes","?"]' in page.partition("## Output")[2]


@pytest.mark.anyio
async def test_more_than_two_hundred_steps_are_counted_not_listed() -> None:
    workflow = Workflow("many")
    workflow.map(lambda n: n, name="same", n=each(list(range(300))))
    run = await run_of(workflow, {})
    page = markdown(run)
    assert "101 more steps are not shown." in page
    assert "`same[198]`" in page
    assert "`same[199]`" not in page
    assert "101 more steps are not shown." in html(run)
    assert len(as_dict(run)["steps"]) == 301


@pytest.mark.anyio
async def test_an_unknown_price_is_never_shown_as_nothing() -> None:
    provider = ScriptedProvider({"outline": "o", "talk": "t"})
    async with Orchestrator(model="scripted:unpriced", providers=[provider]) as orchestrator:
        run = await orchestrator.run(talk(), topic="tea")
    assert run.cost is None
    assert "| Cost | unknown (2 calls without a known price; the others $0) |" in markdown(run)
    assert as_dict(run)["cost"] is None
    assert "cost unknown" in html(run)


@pytest.mark.anyio
async def test_a_run_that_has_not_ended_can_be_reported() -> None:
    pages: list[str] = []
    provider = ScriptedProvider({"outline": "o", "talk": "t"})
    async with (
        Orchestrator(model="scripted:m", providers=[provider]) as orchestrator,
        orchestrator.stream(talk(), topic="tea") as events,
    ):
        async for _ in events:
            pages.append(markdown(events.run) + html(events.run) + json.dumps(as_dict(events.run)))
            break
    assert pages[0].startswith("# talk: running\n")
    assert "## Output" not in pages[0]


@pytest.mark.anyio
async def test_the_dict_is_json_and_shortens_nothing() -> None:
    run = await run_of(talk(), {"outline": "a" * 9000, "talk": "end"}, topic="tea")
    found = json.loads(json.dumps(as_dict(run), allow_nan=False))
    assert found == run.to_dict()
    assert found["status"] == "succeeded"
    assert found["output"] == "end"
    assert found["inputs"] == {"topic": "tea"}
    outline = found["steps"]["outline"]
    assert outline["text"] == outline["value"] == "a" * 9000
    assert outline["messages"][0] == {"role": "system", "content": "You are brief."}
    assert outline["calls"][0]["model"] == "scripted:m"
    assert Decimal(found["cost"]) == run.cost
    assert found["tags"] == ["night|ly"]
    assert found["metadata"] == {"for": "Ada"}


@pytest.mark.anyio
async def test_the_dict_of_a_failed_run_has_its_error_with_causes() -> None:
    def divide(topic: str) -> float:
        return 1 / len(topic)

    found = as_dict(await run_of(Workflow.of(divide, name="w"), {}, topic=""))
    assert found["output"] is None
    assert found["error"]["type"] == "StepError"
    assert found["error"]["step"] == "divide"
    assert found["error"]["cause"]["type"] == "ZeroDivisionError"
    assert list(found["failures"]) == ["divide"]


class Tags(HTMLParser):
    """Collects tags and checks that they are nested."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert not self._open


@pytest.mark.anyio
async def test_the_html_is_nested_escaped_and_folds_prompts() -> None:
    evil = "<script>alert(1)</script></pre></details>&amp;"
    run = await run_of(talk(), {"outline": evil, "talk": evil}, topic=evil)
    page = html(run)
    assert page == run._repr_html_()
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert set(tags.seen) == {"div", "p", "strong", "code", "br", "pre", "details", "summary"}
    assert tags.seen.count("details") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;/pre&gt;&lt;/details&gt;&amp;amp;" in page


def test_parts_that_are_no_text_are_named() -> None:
    message = Message("user", [Text("Look:"), Image("data:image/png;base64,AAAA")])
    assert content_of(message) == "Look:\n[Image: image/png]"


def test_an_error_chain_ends_where_it_turns_round() -> None:
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert chain(first) == ["ValueError: one", "ValueError: two"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 ms"), (0.0049, "4.9 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s"), (3.44, "3.4 s"), (59.94, "59.9 s"),
        (59.96, "1 min 0 s"), (125, "2 min 5 s"), (3599.6, "1 h 0 min"), (7384, "2 h 3 min"),
    ],
)  # fmt: skip
def test_durations_are_shown_in_the_unit_people_use(seconds: float, shown: str) -> None:
    assert span(timedelta(seconds=seconds)) == shown
