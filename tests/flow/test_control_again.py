"""Loops and dispatch in runs that are taken up again, forked and compared."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmorch import (
    Default,
    Diff,
    LoopTurned,
    Node,
    Payload,
    ProviderUnavailable,
    Retry,
    Run,
    StepFailed,
    StepSucceeded,
    Workflow,
    each,
    optional,
)
from llmorch.pricing import Price
from llmorch.testing import run_virtual
from tests.flow.elsewhere import cut, process, whole
from tests.flow.stage import Stage, stage

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
EXAMPLES = int(os.environ.get("RANDOM_LOOPS", "40"))


def answers(request: Any) -> str:
    """A pure function of what is asked."""
    return f"<{request.messages[-1].text}>"


ECHO: dict[str, object] = {"*": answers}


def refine(words: str = "Write {{ topic }} {{ fix }}", *, most: int = 3, until: str = "false") -> Workflow[Any]:
    inner = Workflow("refine")
    inner.input("fix", str, default="")
    draft = inner.add(Payload("draft", words))
    review = inner.add(Payload("review", "Judge {{ draft }}"))
    inner.returns({"draft": draft, "review": review})
    wf = Workflow("w")
    loop = wf.loop(inner, until=until, max_iterations=most, carry={"fix": "output.review"})
    return wf.returns(wf.add(Payload("end", "End {{ text }}"), text=loop["draft"]))


def routed(**words: str) -> Workflow[Any]:
    wf = Workflow("w")
    kind = wf.add(Payload("kind", words.get("kind", "Kind of {{ topic }}")))
    among = {
        "bug": Payload("fix", words.get("bug", "Fix {{ topic }}")),
        "praise": Workflow.of(Payload("a", "A {{ topic }}"), Payload("b", "B {{ a }}"), name="thank"),
    }
    wf.dispatch(kind, among=among, name="reply")
    return wf.returns(wf.add(Payload("end", "End {{ reply }}")))


async def forked(s: Stage, run: Run[Any], **options: Any) -> Run[Any]:
    """The fork's run; forgets what was asked before it."""
    s.provider.requests.clear()
    return await (await s.orch.fork(run.id, **options)).result()


# Forks ---------------------------------------------------------------------------------------------------------------


async def test_a_loop_of_which_nothing_changed_is_adopted() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(), topic="tea")
        fork = await forked(s, run)
        assert (fork.output, s.asked) == (run.output, [])
        assert fork.steps["refine"].iterations == 3
        assert fork.usage.requests == 0


async def test_what_comes_after_a_loop_is_asked_alone_when_it_alone_changed() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(), topic="tea")
        fork = await forked(s, run, workflow=refine().replace("end", Payload("end", "Close {{ text }}")))
        assert s.asked == ["end"]
        assert fork["refine"] == run["refine"]


async def test_a_changed_body_is_asked_in_every_iteration() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(), topic="tea")
        await forked(s, run, workflow=refine("Say {{ topic }} {{ fix }}"))
        assert len(s.asked) == 7
        assert s.asked[:2] == ["refine@0/draft", "refine@0/review"]


async def test_a_longer_loop_adopts_the_iterations_there_are() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(most=2), topic="tea")
        fork = await forked(s, run, workflow=refine(most=3))
        assert s.asked == ["refine@2/draft", "refine@2/review", "end"]
        assert fork["refine@1"] == run["refine@1"]
        assert fork.steps["refine"].iterations == 3


async def test_a_rule_that_ends_the_loop_earlier_is_asked_anew() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(), topic="tea")
        fork = await forked(s, run, workflow=refine(until="iteration == 0"))
        assert s.asked == ["end"]
        assert fork.steps["refine"].iterations == 1
        assert "refine@1" not in fork.steps


async def test_a_step_of_an_iteration_can_be_replaced_and_what_follows_is_asked() -> None:
    async with stage(ECHO) as s:
        run = await s.orch.run(refine(), topic="tea")
        fork = await forked(s, run, replace={"refine@1/review": "mine"})
        assert s.asked == ["refine@2/draft", "refine@2/review", "end"]
        assert fork["refine@1"]["review"] == "mine"
        assert fork["refine@2/draft"] == "<Write tea mine>"


async def test_an_iteration_of_a_payload_can_be_replaced() -> None:
    wf = Workflow("w")
    wf.loop(Payload("say", "Say {{ n }}"), until="false", max_iterations=3, carry={"n": "output"})
    async with stage(ECHO) as s:
        run = await s.orch.run(wf, n="a")
        fork = await forked(s, run, replace={"say@0": "mine"})
        assert s.asked == ["say@1", "say@2"]
        assert fork.output == "<Say <Say mine>>"


async def test_a_dispatch_adopts_the_branch_it_took() -> None:
    script = {"kind": "praise", **ECHO}
    async with stage(script) as s:
        run = await s.orch.run(routed(), topic="tea")
        fork = await forked(s, run)
        assert (fork.output, s.asked) == (run.output, [])
        assert fork.steps["reply"].choice == "praise"
        other = await forked(s, run, workflow=routed(bug="Mend {{ topic }}"))
        assert s.asked == []
        assert other.output == run.output


async def test_a_loop_or_a_dispatch_is_replaced_as_a_whole() -> None:
    async with stage({"kind": "bug", **ECHO}) as s:
        run = await s.orch.run(refine(), topic="tea")
        fork = await forked(s, run, replace={"refine": {"draft": "mine", "review": ""}})
        assert (fork.output, s.asked) == ("<End mine>", ["end"])
        run = await s.orch.run(routed(), topic="tea")
        fork = await forked(s, run, replace={"reply": "mine"})
        assert (fork.output, s.asked) == ("<End mine>", ["end"])
        assert fork.steps["reply"].choice is None


async def test_loops_and_dispatches_have_fingerprints_that_say_what_they_were_run_with() -> None:
    async with stage({"kind": "bug", **ECHO}) as s:
        first, again, other = [await s.orch.run(refine(), topic=topic) for topic in ("tea", "tea", "milk")]
        marks = [run.steps["refine"].fingerprint for run in (first, again, other)]
        assert None not in marks
        assert marks[0] == marks[1] != marks[2]
        changed = await s.orch.run(refine(most=2), topic="tea")
        assert changed.steps["refine"].fingerprint != marks[0]
        one, two = [
            await s.orch.run(routed(bug=words), topic="tea") for words in ("Fix {{ topic }}", "Mend {{ topic }}")
        ]
        assert one.steps["reply"].fingerprint != two.steps["reply"].fingerprint


async def test_another_choice_asks_another_branch() -> None:
    async with stage({"kind": "praise", **ECHO}) as s:
        run = await s.orch.run(routed(), topic="tea")
        fork = await forked(s, run, replace={"kind": "bug"})
        assert s.asked == ["reply/bug", "end"]
        assert fork.steps["reply"].choice == "bug"
        assert fork.steps["reply/praise"].status == "skipped"


async def test_an_incremental_run_after_editing_one_branch_asks_its_cone() -> None:
    async with stage({"kind": "bug", **ECHO}) as s:
        run = await s.orch.run(routed(), topic="tea")
        fork = await forked(s, run, workflow=routed(bug="Mend {{ topic }}"))
        assert s.asked == ["reply/bug", "end"]
        assert fork.output == "<End <Mend tea>>"


# Diffs ---------------------------------------------------------------------------------------------------------------


async def diff(old: Workflow[Any], new: Workflow[Any], script: Any = None, **more: Any) -> Diff:
    async with stage(script or ECHO, prices={"scripted:m": Price(input=Decimal(1), output=Decimal(10))}) as s:
        run = await s.orch.run(old, topic="tea")
        asked = len(s.asked)
        found = s.orch.diff(run, workflow=new, **more)
        assert len(s.asked) == asked
        return found


async def test_a_diff_tells_which_iterations_are_kept_and_what_the_rest_takes() -> None:
    found = await diff(refine(most=2), refine(most=2))
    assert found.is_empty
    found = await diff(refine(most=2), refine(most=3))
    assert "refine@1/review" in found.kept
    assert dict(found.new) == {
        "refine@2/draft": "the run has no such step",
        "refine@2/review": "it waits for 'draft', which runs",
    }
    assert set(found.changed) == {"end"}
    assert 1 <= found.calls.low <= found.calls.likely <= found.calls.high


async def test_a_diff_of_a_changed_body_begins_at_its_first_iteration() -> None:
    found = await diff(refine(), refine("Say {{ topic }} {{ fix }}"))
    assert found.changed["refine@0/draft"] == "its blocks changed"
    assert found.changed["refine@0/review"] == "it waits for 'draft', which runs"
    assert found.changed["end"] == "it waits for 'refine', which runs"
    assert found.calls.high >= 7


async def test_a_diff_tells_the_branch_that_runs() -> None:
    script = {"kind": "bug", **ECHO}
    assert (await diff(routed(), routed(), script)).is_empty
    found = await diff(routed(), routed(bug="Mend {{ topic }}"), script)
    assert dict(found.changed) == {
        "reply/bug": "its blocks changed",
        "end": "it waits for 'reply', which runs",
    }
    found = await diff(routed(), routed(), script, replace={"kind": "praise"})
    assert set(found.changed) | set(found.new) == {"reply/praise/a", "reply/praise/b", "end"}


# Taken up again ------------------------------------------------------------------------------------------------------


async def test_a_loop_that_failed_goes_on_at_the_iteration_that_failed() -> None:
    wf = Workflow("w")
    wf.loop(Payload("say", "Say {{ n }}", retry=ONCE), until="false", max_iterations=3, carry={"n": "output"})
    async with stage({"say": ["one", ProviderUnavailable("down"), "two", "three"]}) as s:
        run = await s.orch.run(wf, n="zero")
        assert run.status == "failed"
        s.provider.requests.clear()
        done = await (await s.orch.resume(run.id)).result()
        assert done.status == "succeeded"
        assert [done[f"say@{i}"] for i in range(3)] == ["one", "two", "three"]
        assert s.asked == ["say@1", "say@2"]
        assert s.prompts("say") == ["Say one", "Say two"]


async def test_a_rule_that_failed_is_asked_again_without_its_iteration() -> None:
    broken = True

    def until(output: str) -> bool:
        if broken:
            raise ValueError("not yet")
        return True

    wf = Workflow("w")
    wf.loop(Payload("say", "Say {{ n }}"), until=until, max_iterations=3, carry={"n": "output"})
    async with stage(ECHO) as s:
        run = await s.orch.run(wf, n="a")
        assert run.status == "failed"
        broken = False
        done = await (await s.orch.resume(run.id)).result()
        assert (done.status, done.output) == ("succeeded", "<Say a>")
        assert len(s.asked) == 1


async def test_an_exhausted_loop_that_failed_fails_again_without_asking() -> None:
    wf = Workflow("w")
    wf.loop(Payload("say", "Say {{ n }}"), until="false", max_iterations=2, carry={"n": "output"}, on_exhausted="fail")
    async with stage(ECHO) as s:
        run = await s.orch.run(wf, n="a")
        done = await (await s.orch.resume(run.id)).result()
        assert done.status == "failed"
        assert "did not suffice" in str(done.error)
        assert len(s.asked) == 2


async def test_what_was_decided_is_read_from_the_log_and_not_decided_again() -> None:
    asked: list[int] = []

    def until(output: str, iteration: int) -> bool:
        asked.append(iteration)
        return iteration == 2

    wf = Workflow("w")
    wf.loop(Payload("say", "Say {{ n }}"), until=until, max_iterations=5, carry={"n": "output"})
    store, run_id = await whole(wf, ECHO, n="a")
    log = await store.events(run_id, limit=1000)
    at = [index for index, event in enumerate(log, 1) if isinstance(event, LoopTurned)][1]
    asked.clear()
    async with process(await cut(store, run_id, at), ECHO, workflows=[wf]) as s:
        run = await s.orch.attach(run_id).result()
        assert run.output == "<Say <Say <Say a>>>"
        assert asked == [2]
        assert s.asked == ["say@2"]


async def test_what_was_decided_before_a_loop_failed_is_not_decided_again() -> None:
    asked: list[int] = []
    broken = [True]

    def until(output: str, iteration: int) -> bool:
        asked.append(iteration)
        return iteration == 2

    def say(n: str) -> str:
        if broken[0] and n == "aaaa":
            raise ValueError("not now")
        return n + n

    wf = Workflow("w")
    wf.loop(say, until=until, max_iterations=5, carry={"n": "output"})
    async with stage() as s:
        failed = await s.orch.run(wf, n="a")
        assert (failed.status, asked) == ("failed", [0, 1])
        broken[0] = False
        run = await (await s.orch.resume(failed.id)).result()
        assert (run.output, asked) == ("a" * 8, [0, 1, 2])


async def test_a_branch_that_failed_is_taken_again() -> None:
    wf = Workflow("w")
    wf.dispatch(wf.input("way"), among={"a": Payload("p", "P", retry=ONCE), "b": Payload("q", "Q")}, name="pick")
    async with stage({"a": [ProviderUnavailable("down"), "up"]}) as s:
        run = await s.orch.run(wf, way="a")
        assert run.status == "failed"
        done = await (await s.orch.resume(run.id)).result()
        assert (done.status, done.output, done.steps["pick"].choice) == ("succeeded", "up", "a")


# Cut anywhere --------------------------------------------------------------------------------------------------------


def number(text: str) -> int:
    return zlib.crc32(text.encode())


def digits(request: Any) -> Any:
    """Text, or now and then a failure; a pure function of what is asked."""
    seen = number(request.messages[-1].text)
    if seen % 11 == 0:
        raise ProviderUnavailable("on purpose")
    return f"{seen % 1000}"


def small(output: Any) -> bool:
    return number(str(output)) % 3 == 0


def grown(output: Any, iteration: int) -> str:
    return f"{output}+{iteration}"


class Maker:
    """Makes random workflows of loops, dispatches, maps and what they hold."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def policy(self) -> Any:
        return self.dice.choice(["fail", "skip", "skip", Default("instead")])

    def leaf(self) -> Any:
        if self.dice.random() < 0.7:
            return Payload(self.name("p"), "{{ x }}" + str(self.dice.randrange(9)), retry=ONCE)
        return grow_text

    def action(self, depth: int) -> Any:
        return self.workflow(depth + 1) if depth < 2 and self.dice.random() < 0.4 else self.leaf()

    def workflow(self, depth: int) -> Workflow[Any]:
        wf = Workflow(self.name("w"), on_error=self.dice.choice(["fail", "skip"]))
        known: list[Any] = [wf.input("x", str)]
        for _ in range(self.dice.randint(1, 3)):
            known.append(self.step(wf, self.dice.choice(known), depth))
        return wf.returns(self.dice.choice([known[-1], {"all": [optional(node) for node in known[1:]]}]))

    def step(self, wf: Workflow[Any], x: Any, depth: int) -> Node[Any]:
        options: dict[str, Any] = {"x": x, "on_error": self.policy()}
        match self.dice.randrange(4):
            case 0:
                carry: dict[str, Any] = {"x": self.dice.choice(["output | string", grown])}
                until = self.dice.choice([small, "iteration == 1", "'7' in (output | string)"])
                exhausted = self.dice.choice(["keep", "fail"])
                return wf.loop(
                    self.action(depth), name=self.name("l"), until=until, max_iterations=self.dice.randint(1, 4),
                    carry=carry, on_exhausted=exhausted, **options,
                )  # fmt: skip
            case 1:
                among = {"0": self.action(depth), "1": self.action(depth)}
                last = self.dice.choice([None, self.leaf()])
                return wf.dispatch(
                    f"(x | string | length) % {self.dice.choice([2, 3])}", among=among, otherwise=last,
                    name=self.name("d"), **options,
                )  # fmt: skip
            case 2:
                options["x"] = each([x, "a"])
                node = wf.map(self.action(depth), name=self.name("m"), **options)
                return wf.add(joined, name=self.name("j"), xs=node, on_error="skip")
            case _:
                return wf.add(self.action(depth), name=self.name("s"), **options)


def grow_text(x: str) -> str:
    return f"{x}."


def joined(xs: list[Any]) -> str:
    return "-".join(map(str, xs))


def results(run: Run[Any]) -> dict[str, Any]:
    """All there is to compare of two runs; not what a failure under "fail" found in flight beside it."""
    states = {path: step.state for path, step in run.steps.items() if step.status == "failed"}
    failed = [path for path, state in states.items() if state and not state.owner and state.on_error == "fail"]
    loose = tuple(path[: path.rfind("/") + 1] for path in failed)
    found: dict[str, Any] = {
        path: (step.status, step.value, step.choice, step.iterations)
        for path, step in run.steps.items()
        if not path.startswith(loose)
    }
    return {"status": run.status, "output": run.output if run.status != "failed" else None, **found}


async def taken_up(make: Callable[[], Workflow[Any]], seed: int, cuts: int) -> list[tuple[int, Any, Any, list[str]]]:
    workflow = make()
    script = {"*": digits}
    store, run_id = await whole(workflow, script, x="start")
    log = await store.events(run_id, limit=100_000)
    async with process(store, script, workflows=[workflow], recover=False) as s:
        expected = results(await s.orch.get(run_id, workflow=workflow))
    dice = random.Random(seed)
    places = range(1, len(log)) if cuts >= len(log) else dice.sample(range(1, len(log)), cuts)
    seen: list[tuple[int, Any, Any, list[str]]] = []
    for at in sorted(places):
        left = await cut(store, run_id, at)
        async with process(left, script, workflows=[workflow]) as s:
            run = await s.orch.attach(run_id).result()
            whole_log = await s.log(run_id)
        assert list(whole_log[:at]) == list(log[:at]), "the log only grows"
        known = {event.step for event in log[:at] if isinstance(event, StepSucceeded | StepFailed)}
        seen.append((at, expected, results(run), [step for step in s.asked if step in known]))
    return seen


@given(seed=st.integers(0, 2**32))
@settings(max_examples=EXAMPLES, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
def test_a_run_of_loops_and_dispatches_cut_anywhere_gives_what_the_whole_one_gave(seed: int) -> None:
    for backend in ("asyncio", "trio"):
        for at, expected, found, repeated in run_virtual(
            taken_up, lambda: Maker(seed).workflow(0), seed, 6, backend=backend
        ):
            note(f"{backend}, cut after {at}")
            assert found == expected
            assert not repeated, f"asked again although recorded: {repeated}"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_and_a_dispatch_are_taken_up_at_every_event(backend: str) -> None:
    def everything() -> Workflow[Any]:
        inner = Workflow("inner")
        x = inner.input("x", str)
        draft = inner.add(Payload("draft", "Draft {{ x }}", retry=ONCE))
        inner.dispatch("'long' if (draft | length) > 2 else 'short'", among={
            "long": Payload("cut", "Cut {{ draft }}", retry=ONCE), "short": grow_text,
        }, name="shape", x=draft)  # fmt: skip
        del x
        wf = Workflow("w")
        wf.loop(inner, name="refine", until="iteration == 2", max_iterations=4, carry={"x": "output"})
        wf.map(inner, name="many", x=each(["a", "b", Node("refine")]), concurrency=2, on_error=Default("none"))
        return wf.returns({"one": Node("refine"), "all": Node("many")})

    seen = run_virtual(taken_up, everything, 0, 10_000, backend=backend)
    assert len(seen) > 40
    for at, expected, found, repeated in seen:
        assert found == expected, at
        assert not repeated, (at, repeated)
    assert seen[0][1]["status"] in ("succeeded", "partial")
