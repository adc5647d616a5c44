"""The programs that show what user code looks like run as they are printed; only the vendors are scripted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    Budget,
    Limit,
    Orchestrator,
    Payload,
    Price,
    StepDelta,
    StepWaiting,
    Usage,
    Workflow,
    each,
    first_n,
    optional,
)
from llmorch.testing import ScriptedProvider

pytestmark = pytest.mark.anyio

TEXT = "Tides follow the moon. Boats follow the tides."


class Facts(BaseModel):
    title: str
    claims: list[str]


def vendors(**answers: Any) -> dict[str, ScriptedProvider]:
    return {name: ScriptedProvider(answers) for name in ("openai", "anthropic", "gemini", "ollama")}


async def test_an_article_becomes_a_post() -> None:
    voice = Block("voice", "You write in {{ style }} style for {{ audience }}.", role="system")
    extract = Payload("extract", "List the claims made in:\n{{ article }}", model="openai:gpt-5-mini", output=Facts)
    draft = Payload("draft", voice, "Write a post titled {{ title }} from:\n{{ claims | bullets }}",
                    model="anthropic:claude-sonnet-4-5", fallback=["openai:gpt-5.2"], timeout=60)  # fmt: skip

    wf = Workflow("article-to-post")
    wf.input("audience", str, default="engineers")
    facts = wf.add(extract)
    post = wf.add(draft, title=facts["title"], claims=facts["claims"], style="plain")

    providers = vendors(extract={"title": "Tides", "claims": ["a", "b"]}, draft="The post")
    prices = {model: Price(1, 2) for model in ("openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "openai:gpt-5.2")}
    async with Orchestrator(providers=providers, prices=prices) as orch:
        plan = orch.plan(wf, article=TEXT)
        assert plan.critical_path == ("extract", "draft")
        assert not any(provider.requests for provider in providers.values())
        run = await orch.run(wf, article=TEXT)
    assert (run.output, run[facts].title, run[post]) == ("The post", "Tides", "The post")
    assert isinstance(run.cost, Decimal)
    assert isinstance(run.usage, Usage)
    (request,) = providers["anthropic"].requests
    assert [message.text for message in request.messages] == [
        "You write in plain style for engineers.",
        "Write a post titled Tides from:\n- a\n- b",
    ]


async def test_the_shortest_program_has_no_wiring() -> None:
    wf = Workflow.of(Payload("outline", "Outline a talk on {{ topic }}."),
                     Payload("critique", "Find three weak points:\n{{ outline }}"),
                     Payload("talk", "Write the talk.\nOutline: {{ outline }}\nFix: {{ critique }}"),
                     name="talk")  # fmt: skip
    provider = ScriptedProvider({"outline": "O", "critique": "C", "talk": "T"})
    async with Orchestrator(providers=[provider], model="scripted:m") as orch:
        run = await orch.run(wf, topic="tides")
    assert run.output == "T"
    assert provider.requests[-1].messages[0].text == "Write the talk.\nOutline: O\nFix: C"


async def test_a_panel_needs_three_votes_of_four() -> None:
    answer = Payload("answer", "Answer: {{ question }}", output=Facts)
    check = Payload("check", "Is it true: {{ claim }}")
    judge = Payload("judge", "Judge {{ answers }} with {{ checks }}", model="openai:gpt-5.2")
    panel = ["openai:gpt-5.2", "anthropic:claude-opus-4-6", "gemini:gemini-3-pro", "ollama:qwen3"]
    wf = Workflow("panel")
    votes = [wf.add(answer.using(model=m, name=f"vote-{i}"), on_error="skip") for i, m in enumerate(panel)]
    checks = wf.map(check, claim=each(votes[0]["claims"]), concurrency=8, on_error="skip")
    wf.returns(wf.add(judge, answers=first_n(votes, 3), checks=optional(checks, default=[])))

    vote = {"title": "yes", "claims": ["x", "y"]}
    answers: dict[str, Any] = {f"vote-{i}": vote for i in range(3)}
    providers = vendors(**answers, **{"vote-3": ConnectionError("down"), "check": "true", "judge": "verdict"})
    async with Orchestrator(providers=providers, model="openai:gpt-5.2") as orch:
        run = await orch.run(wf, question="tides?")
    assert (run.status, run.output, run["check"]) == ("partial", "verdict", ["true", "true"])
    assert set(run.failures) == {"vote-3"}


async def test_a_run_is_watched_live_through_its_handle() -> None:
    wf = Workflow.of(Payload("facts", "Facts of {{ question }}"), Payload("judge", "Judge {{ facts }}"), name="live")
    provider = ScriptedProvider({"facts": "F", "judge": "one two three"})
    sent = ""
    async with Orchestrator(providers=[provider], model="scripted:m", workflows=[wf]) as orch:
        handle = await orch.start(wf, question="tides")
        async for event in handle.events():
            match event:
                case StepDelta(step="judge", text=text):
                    sent += text
        run = await handle.result()
    assert sent == run.output == "one two three"


async def test_a_question_is_answered_while_its_run_is_watched() -> None:
    wf = Workflow("live")
    facts = wf.add(Payload("facts", "Facts of {{ question }}"))
    wf.ask("publish", "Publish {{ facts }}?", answer=bool)
    wf.returns(wf.add(Payload("judge", "Judge {{ facts }}: {{ publish }}"), facts=facts))
    provider = ScriptedProvider({"facts": "F", "judge": "one two three"}, name="openai")
    sent, asked = "", list[str]()

    async def ask_a_person(question: str) -> bool:
        asked.append(question)
        return True

    async with Orchestrator(
        providers=[provider],
        model="openai:m",
        budget=Budget(usd=5, unpriced="ignore"),
        workflows=[wf],
        limits={"openai": Limit(requests_per_minute=500, tokens_per_minute=200_000, concurrency=20)},
    ) as orch:
        handle = await orch.start(wf, idempotency_key="request-1", question="tides")
        async for event in handle.events():
            match event:
                case StepDelta(step="judge", text=text):
                    sent += text
                case StepWaiting(step=name, question=q):
                    await handle.answer(name, await ask_a_person(q))
        run = await handle.result()
        again = await orch.start(wf, idempotency_key="request-1", question="tides")
    assert sent == run.output == "one two three"
    assert asked == ["Publish F?"]
    assert again.id == run.id
    assert provider.requests[-1].messages[-1].content == "Judge F: true"
