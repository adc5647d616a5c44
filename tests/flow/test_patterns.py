"""The shipped patterns do what they say, also when something fails."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch import Payload, ProviderUnavailable, Retry, Workflow, WorkflowInvalid
from llmorch.patterns import (
    Best,
    Verdict,
    best_of_n,
    chain,
    critic_loop,
    map_reduce,
    panel,
    planner_responder_critic,
    router,
)
from llmorch.patterns.best_of_n import chosen_of
from llmorch.patterns.map_reduce import split_document
from llmorch.testing import Reply
from tests.flow.stage import stage

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
ECHO: dict[str, object] = {"*": lambda request: f"<{request.messages[-1].text}>"}
JUDGE = Payload("criticise", "Judge {{ draft }}", output=Verdict)


def every() -> list[Workflow[Any]]:
    ask = Payload("ask", "{{ q }}", model="offline:echo")
    judge = JUDGE.using(model="offline:auto")
    return [
        chain(Payload("a", "{{ text }}", model="offline:echo"), Payload("b", "{{ text }}!", model="offline:echo")),
        panel(ask, ["offline:echo"], synthesis=ask.using(name="merge", blocks=["{{ answers | json }}"])),
        map_reduce(ask.using(blocks=["{{ part }}"]), ask.using(name="all", blocks=["{{ findings | json }}"])),
        critic_loop(ask.using(blocks=["{{ feedback }}"]), judge),
        router(ask, {"a": ask}, otherwise=ask),
        planner_responder_critic(ask, ask.using(blocks=["{{ plan }} {{ feedback }}"]), criticise=judge),
        best_of_n(ask, ask.using(name="judge", blocks=["{{ candidates | json }}"], output=Best)),
    ]


def test_every_pattern_can_be_planned_saved_and_read_again() -> None:
    for wf in every():
        assert wf.plan().portable, wf.name
        again = Workflow.from_yaml(wf.to_yaml(), code=[split_document, chosen_of, Verdict, Best])
        assert again.to_dict() == wf.to_dict()


async def test_a_chain_hands_each_answer_on() -> None:
    wf = chain(Payload("a", "A {{ text }}"), Payload("b", "B {{ text }} {{ tone }} {{ a }}"), name="two")
    assert list(wf.inputs) == ["text", "tone"]
    async with stage(ECHO) as s:
        assert (await s.orch.run(wf, text="x", tone="dry")).output == "<B <A x> dry <A x>>"
    other = chain(Payload("a", "A {{ draft }}"), through="draft")
    assert list(other.inputs) == ["draft"]
    with pytest.raises(WorkflowInvalid, match="is given 'text', which its action does not read"):
        chain(Payload("a", "A {{ txt }}")).freeze()


async def test_a_panel_does_without_those_that_fail() -> None:
    ask = Payload("ask", "{{ q }}", retry=ONCE)
    wf = panel(ask, ["scripted:a", "scripted:b", "scripted:c"], synthesis=Payload("merge", "{{ answers | json }}"))
    script = {"ask-0": "zero", "ask-1": ProviderUnavailable("down"), "ask-2": "two", **ECHO}
    async with stage(script) as s:
        run = await s.orch.run(wf, q="?")
        assert (run.output, run.status) == ('<["zero","two"]>', "partial")
    async with stage({**script, "ask-0": ProviderUnavailable("off")}) as s:
        run = await s.orch.run(wf, q="?")
        assert run.status == "failed"
        assert s.prompts("merge") == []


async def test_a_panel_does_not_wait_for_more_than_its_quorum() -> None:
    ask = Payload("ask", "{{ q }}")
    wf = panel(ask, ["scripted:a", "scripted:b"], synthesis=Payload("merge", "{{ answers | json }}"), quorum=1)
    async with stage({"ask-0": Reply("slow", 9), "ask-1": "quick", **ECHO}) as s:
        assert (await s.orch.run(wf, q="?")).output == '<["quick"]>'


async def test_map_reduce_reads_every_part_once_and_in_order() -> None:
    wf = map_reduce(Payload("read", "{{ part }}"), Payload("all", "{{ findings | json }}"), most_characters=5)
    async with stage({"read": lambda request: request.messages[-1].text.upper(), **ECHO}) as s:
        run = await s.orch.run(wf, document="one\n\ntwo\n\nthree four")
        assert run["split"] == ["one", "two", "three", " four"]
        assert run.output == '<["ONE","TWO","THREE"," FOUR"]>'
        assert (await s.orch.run(wf, document="")).output == "<[]>"


@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 20))
def test_a_split_document_loses_nothing_and_keeps_its_bound(document: str, most: int) -> None:
    parts: list[str] = split_document(document, most)
    assert all(0 < len(part) <= most for part in parts)
    assert "".join("".join(parts).split()) == "".join(document.split())


async def test_a_critic_loop_gives_the_draft_that_was_approved() -> None:
    wf = critic_loop(Payload("write", "Write. {{ feedback }}"), JUDGE)
    no, yes = Verdict(approved=False, feedback="shorter"), Verdict(approved=True)
    async with stage({"draft": ["one", "two"], "verdict": [no, yes]}) as s:
        run = await s.orch.run(wf)
        assert run.output == "two"
        assert s.prompts("draft") == ["Write. ", "Write. shorter"]
        assert (run.steps["refine"].iterations, run.steps["refine"].finished) == (2, True)
    async with stage({"draft": ["one", "two", "three"], "verdict": no}) as s:
        run = await s.orch.run(wf)
        assert (run.output, run.steps["refine"].finished) == ("three", False)


def test_a_critic_whose_answer_has_no_approval_is_a_fault() -> None:
    wf = critic_loop(
        Payload("w", "{{ feedback }}", model="offline:echo"), JUDGE.using(output=Best, model="offline:auto")
    )
    with pytest.raises(WorkflowInvalid, match="'approved'"):
        wf.plan()


async def test_a_router_runs_the_branch_that_was_named() -> None:
    kind = Payload("kind", "{{ message }}?", output=Literal["bug", "praise", "other"])
    fix = Payload("fix", "Fix {{ message }}")
    wf = router(kind, {"bug": fix}, otherwise=fix.using(name="pass-on", blocks=["Pass {{ message }}"]))
    async with stage({"route": ["bug", "other"], **ECHO}) as s:
        first = await s.orch.run(wf, message="m")
        second = await s.orch.run(wf, message="m")
        assert (first.output, second.output) == ("<Fix m>", "<Pass m>")
        assert second.steps["answer"].choice == "otherwise"
    by_field = router(kind.using(output=Verdict), {"true": fix}, by="route.approved")
    async with stage({"route": Verdict(approved=True), **ECHO}) as s:
        assert (await s.orch.run(by_field, message="m")).output == "<Fix m>"


async def test_the_plan_is_made_once_and_followed_in_every_round() -> None:
    respond = Payload("respond", "Do {{ task }} by {{ plan }}. {{ feedback }}")
    judge = Payload("judge", "Does {{ draft }} follow {{ plan }}?", output=Verdict)
    wf = planner_responder_critic(Payload("plan", "Plan {{ task }}"), respond, criticise=judge, most_rounds=2)
    assert list(wf.inputs) == ["task"]
    no = Verdict(approved=False, feedback="more")
    async with stage({"plan": "P", "draft": ["one", "two"], "verdict": no}) as s:
        run = await s.orch.run(wf, task="tea")
        assert run.output == "two"
        assert s.prompts("draft") == ["Do tea by P. ", "Do tea by P. more"]
        assert s.prompts("verdict") == ["Does one follow P?", "Does two follow P?"]


async def test_the_judge_takes_one_of_those_that_came() -> None:
    judge = Payload("judge", "{{ candidates | json }}", output=Best)
    wf = best_of_n(Payload("ask", "{{ q }}", retry=ONCE), judge, n=3, least=2)
    script: dict[str, object] = {"ask-0": ProviderUnavailable("down"), "ask-1": "b", "ask-2": "c"}
    async with stage({**script, "judge": Best(index=1)}) as s:
        run = await s.orch.run(wf, q="?")
        assert run.output == "c"
        assert s.prompts("judge") == ['["b","c"]']
    async with stage({**script, "judge": Best(index=2)}) as s:
        run = await s.orch.run(wf, q="?")
        assert run.status == "failed"
        assert "the judge took candidate 2, but there are 0 to 1" in str(run.error)
