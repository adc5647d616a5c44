"""Random workflows: the engine does what the reference interpreter does, on both backends, however many at once."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from llmorch import Orchestrator, Run, RunHandle, StepFailed, StepSucceeded, StepWaiting
from llmorch.testing import ScriptedProvider, run_virtual
from tests.durability.results import IS_LONG
from tests.flow.built import Pace, build, person, provider_script
from tests.flow.described import (
    CHOICE,
    REQUIRED,
    Arg,
    Branch,
    Dflt,
    DictOf,
    Each,
    FirstN,
    FirstOf,
    Flow,
    Leaf,
    ListOf,
    Lit,
    Loop,
    Opt,
    Pick,
    Ref,
    Rule,
    Step,
    When,
)
from tests.flow.random_dags import flows
from tests.flow.reference import Reference

EXAMPLES = int(os.environ.get("RANDOM_DAGS") or (2000 if IS_LONG else 300))
CONCURRENCIES = (1, 4, 64)
# Making a failure smaller takes minutes: the profile `explore` does it; `ci` shows the failure as it was drawn.
PHASES = [phase for phase in Phase if phase is not Phase.shrink or not settings.default.derandomize]
INPUTS = {"p": [4, 5], "q": 2}
LOOKS_S = 6.0  # a little more than a process takes to look out for runs whose questions nobody has answered in time


@dataclass
class Observed:
    """What a run of the engine gave."""

    concurrency: int
    run: Run[Any]
    requests: Counter[tuple[str, str]]
    log: list[str]


async def observe(flow: Flow, seed: int) -> list[Observed]:
    """Run the workflow once at each concurrency, its answers arriving in an order that the seed decides."""
    dice = random.Random(seed)

    async def pace() -> None:
        match dice.randrange(4):
            case 0:
                await anyio.lowlevel.checkpoint()
            case 1 | 2:
                await anyio.sleep(dice.randrange(1, 30))
            case _:
                pass

    seen: list[Observed] = []
    for concurrency in CONCURRENCIES:
        provider, asked = ScriptedProvider(provider_script(flow, pace)), person(flow)
        is_at_hand = dice.random() < 0.5
        on_ask = at_once(asked, pace) if is_at_hand else None
        async with Orchestrator(
            providers=[provider], model="scripted:m", concurrency=concurrency, on_ask=on_ask
        ) as orch:
            handle = await orch.start(build(flow, pace), INPUTS)
            run = await (handle.result(wait_for_answers=True) if is_at_hand else answered(handle, asked, dice))
            events = [event async for event in handle.events()]
        ends = [event.step for event in events if isinstance(event, StepSucceeded | StepFailed)]
        requests = Counter((request.step or "", request.messages[-1].text) for request in provider.requests)
        requests.update((event.step, event.question) for event in events if isinstance(event, StepWaiting))
        seen.append(Observed(concurrency, run, requests, ends))
    return seen


def at_once(asked: Callable[[StepWaiting], Any], pace: Pace) -> Callable[[StepWaiting], Awaitable[Any]]:
    """Somebody who answers each question while the run goes on."""

    async def on_ask(question: StepWaiting) -> Any:
        await pace()
        return asked(question)

    return on_ask


async def answered(
    handle: RunHandle[Any], asked: Callable[[StepWaiting], Any], dice: random.Random, *, looks_s: float = LOOKS_S
) -> Run[Any]:
    """The run when it has ended; whenever it waits, one of its questions is answered, whichever."""
    while (run := await handle.result()).status == "waiting":
        answers = {question.step: asked(question) for question in run.questions}
        known = [path for path in sorted(answers) if answers[path] is not None]
        if known:
            path = dice.choice(known)
            await handle.answer(path, answers[path])
        else:
            await anyio.sleep(looks_s)
    return run


def differences(flow: Flow, seen: Observed) -> Iterator[str]:
    """Every way in which the run is not what the interpreter says; empty when they agree."""
    expected = Reference(log=seen.log).run(flow, INPUTS)
    found = {path: (str(result.status), result.value) for path, result in seen.run.steps.items()}
    if seen.run.status != expected.status:
        yield f"run is {seen.run.status}, expected {expected.status} ({seen.run.error!r})"
    for path in sorted({*found, *expected.steps}):
        got, wanted = found.get(path, ("pending", None)), expected.steps.get(path, ("pending", None))
        may_be_missing = got in (("pending", None), ("cancelled", None)) and _is_loose(path, expected)
        if got != wanted and not may_be_missing:
            yield f"{path} is {got}, expected {wanted}"
    failed = {path for path, (status, _) in found.items() if status == "failed"}
    if set(seen.run.failures) != failed:
        yield f"failures has {sorted(seen.run.failures)}, but failed are {sorted(failed)}"
    for path, count in (seen.requests - expected.requests).items():
        yield f"{count} request(s) too many: {path}"
    for path, count in (expected.requests - seen.requests).items():
        if not _is_loose(path[0], expected):
            yield f"{count} request(s) too few: {path}"
    if expected.status == "failed":
        yield from _error_differences(seen.run, expected, failed)
    elif seen.run.status == expected.status and seen.run.output != expected.output:
        yield f"output is {seen.run.output!r}, expected {expected.output!r}"


def _error_differences(run: Run[Any], expected: Reference, failed: set[str]) -> Iterator[str]:
    possible = {path for path, (status, _) in expected.steps.items() if status == "failed"}
    if run.error is None:
        yield "a failed run has no error"
    elif run.error.step is not None and run.error.step not in possible:
        yield f"the run's error is of {run.error.step}, expected one of {sorted(possible)}"
    if "" in expected.loose and not failed:
        yield "a run that failed under 'fail' has no failed step"


def _is_loose(path: str, expected: Reference) -> bool:
    """Inside a workflow that failed under `"fail"`, where what had not started yet stays out."""
    return any(path.startswith(prefix) for prefix in expected.loose)


@given(flow=flows(), seed=st.integers(0, 2**16))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
def test_any_workflow_gives_what_the_reference_interpreter_gives(flow: Flow, seed: int) -> None:
    check(flow, seed)


def check(flow: Flow, seed: int = 0) -> None:
    """Fail unless all six runs give what the interpreter gives."""
    for backend in ("asyncio", "trio"):
        for seen in run_virtual(observe, flow, seed, backend=backend):
            found = list(differences(flow, seen))
            if found:
                note(f"{backend}, concurrency {seen.concurrency}, log {seen.log}")
            assert not found, "\n".join(found)


# Interpreter and engine on what the documents say in so many words.


def leaf(tag: str, kind: Any = "text", *, fails: int = 0) -> Leaf:
    return Leaf("sync", tag, kind, fails)


def top(*steps: Step, output: Arg | str, on_error: Any = "fail") -> Flow:
    return Flow({"p": REQUIRED, "q": REQUIRED}, steps, Ref(output) if isinstance(output, str) else output, on_error)


def interpreted(flow: Flow, *, log: list[str] | None = None) -> Reference:
    return Reference(log).run(flow, INPUTS)


GOOD = Step("good", leaf("t1"), on_error="skip")
BAD = Step("bad", leaf("t2", fails=1), on_error="skip")
UNASKED = Step("unasked", leaf("t3"), when=When("not", (Ref("q"),)))
BEHIND_BOTH = Step("both", leaf("t5"), {"a": Ref("unasked"), "b": Ref("bad")})
BEHIND_ONE = Step("one", leaf("t5"), {"a": Ref("unasked"), "b": Opt(Ref("bad"), 0)})
VALUE = interpreted(top(GOOD, output="good")).output


@pytest.mark.parametrize(
    ("flow", "status", "output"),
    [
        (top(GOOD, output="good"), "succeeded", VALUE),
        (top(UNASKED, output="unasked"), "succeeded", None),
        (top(BAD, output="bad"), "failed", None),
        (top(GOOD, BAD, output="good"), "partial", VALUE),
        (top(BAD, output=Opt(Ref("bad"), "spare")), "partial", "spare"),
        (top(GOOD, BAD, output=FirstOf((Ref("bad"), Ref("good")))), "partial", VALUE),
        (top(BAD, UNASKED, output=FirstOf((Ref("unasked"), Ref("bad")))), "failed", None),
        (top(GOOD, BAD, output=DictOf({"a": Ref("bad"), "b": Ref("good")})), "partial", {"a": None, "b": VALUE}),
        (top(GOOD, BAD, output=ListOf((Ref("bad"), Ref("good")))), "partial", [VALUE]),
        (top(GOOD, BAD, output=FirstN((Ref("bad"), Ref("good")), 1)), "partial", [VALUE]),
        (top(GOOD, BAD, output=FirstN((Ref("bad"), Ref("good")), 2)), "failed", None),
        (top(GOOD, Step("bad", leaf("t2", fails=1)), output="good"), "failed", None),
        (top(Step("bad", leaf("t2", fails=1), on_error=Dflt("d")), output="bad"), "partial", "d"),
        (top(Step("bad", leaf("t2", fails=1)), output=Opt(Ref("bad"), 1)), "failed", None),
        (top(Step("bad", leaf("t2", fails=1)), GOOD, output="good", on_error="skip"), "partial", VALUE),
        (top(GOOD, output=Ref("good", ("k",))), "failed", None),
        (top(BAD, UNASKED, BEHIND_BOTH, output="both"), "failed", None),
        (top(BAD, UNASKED, BEHIND_ONE, output="one"), "partial", None),
    ],
)
def test_interpreter_and_engine_give_the_status_and_output_of_the_specification(
    flow: Flow, status: str, output: object
) -> None:
    result = interpreted(flow)
    assert (result.status, result.output) == (status, output)
    check(flow)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (Step("x", leaf("t9"), {"a": Ref("bad")}), "skipped"),
        (Step("x", leaf("t9"), {"a": ListOf((Ref("good"), Ref("bad")))}), "skipped"),
        (Step("x", leaf("t9"), {"a": ListOf((Ref("good"), Opt(Ref("bad"), 0)))}), "succeeded"),
        (Step("x", leaf("t9"), {"a": FirstOf((Ref("bad"), Ref("unasked")))}), "skipped"),
        (Step("x", leaf("t9"), after=("bad", "unasked")), "succeeded"),
        (Step("x", leaf("t9"), when=When("name", (Ref("bad"),))), "skipped"),
        (Step("x", leaf("t9"), {"a": Ref("bad")}, when=When("over", (Ref("good"),))), "skipped"),
        (Step("x", leaf("t9"), when=When("over", (Ref("good"),)), on_error="skip"), "failed"),
        (Step("x", leaf("t9"), {"a": Ref("good", ("k",))}, on_error="skip"), "failed"),
        (Step("x", leaf("t9"), {"a": Each(Ref("good"))}, is_map=True, on_error=Dflt(1)), "failed"),
        (Step("x", leaf("t9"), {"a": Each(Lit([1])), "b": Each(Ref("p"))}, is_map=True, on_error="skip"), "failed"),
    ],
)
def test_interpreter_and_engine_give_the_step_status_of_the_specification(step: Step, status: str) -> None:
    flow = top(GOOD, BAD, UNASKED, step, output="good")
    assert interpreted(flow).steps["x"][0] == status
    check(flow)


DOOMED = leaf("t9", fails=1)
SKIPPING = Flow({"q9": REQUIRED}, (Step("y", leaf("t8"), when=When("not", (Ref("q9"),))),), Ref("y"))
FAILING = Flow({"q9": REQUIRED}, (Step("y", leaf("t8", fails=1)), Step("z", leaf("t7"), {"a": Ref("y")})), Ref("z"))


@pytest.mark.parametrize(
    ("step", "result", "run"),
    [
        (Step("m", DOOMED, {"a": Each(Ref("p"))}, is_map=True, on_error="skip"), ("failed", None), "partial"),
        (Step("m", DOOMED, {"a": Each(Ref("p"))}, is_map=True, on_error=Dflt(0)), ("succeeded", [0, 0]), "partial"),
        (Step("m", DOOMED, {"a": Each(Lit([]))}, is_map=True), ("succeeded", []), "succeeded"),
        (Step("m", DOOMED, {"a": Each(Ref("p"))}, is_map=True), ("failed", None), "failed"),
        (Step("m", SKIPPING, {"q9": Each(Ref("p"))}, is_map=True, on_error=Dflt(0)), ("succeeded", []), "succeeded"),
        (Step("m", SKIPPING, {"q9": Ref("q")}), ("skipped", None), "succeeded"),
        (Step("m", FAILING, {"q9": Ref("q")}, on_error="skip"), ("failed", None), "partial"),
        (Step("m", FAILING, {"q9": Ref("q")}, on_error=Dflt(7)), ("failed", 7), "partial"),
    ],
)  # fmt: skip
def test_interpreter_and_engine_read_maps_and_nested_workflows_as_specified(
    step: Step, result: tuple[str, object], run: str
) -> None:
    flow = top(GOOD, step, output="good")
    assert interpreted(flow).steps["m"] == result
    assert interpreted(flow).status == run
    check(flow)


def turns(until: Rule, most: int = 3, *, exhausted: Any = "keep", body: Leaf | Flow | None = None) -> Loop:
    body = body or leaf("t9", "int")
    return Loop(
        body, until, most, {next(iter(body.inputs)) if isinstance(body, Flow) else "a": Rule("count")}, exhausted
    )


def picks(choice: str, *, otherwise: bool = False, **branches: Leaf | Flow) -> Step:
    among = {key: Branch(action, ("a",) if isinstance(action, Leaf) else tuple(action.inputs))
             for key, action in branches.items()}  # fmt: skip
    last = Branch(leaf("t6"), ("a",)) if otherwise else None
    bound: dict[str, Arg] = {"a": Lit(1), "q9": Ref("q"), CHOICE: Ref(choice)}
    read = {name for branch in among.values() for name in branch.reads} | ({"a"} if otherwise else set())
    return Step(
        "x", Pick(among, last), {key: arg for key, arg in bound.items() if key in {*read, CHOICE}}, on_error="skip"
    )


WORD = Step("word", leaf("t4", "word"))
CHOSEN = interpreted(top(WORD, output="word")).output
OTHER = "x" if CHOSEN != "x" else "y"


@pytest.mark.parametrize(
    ("step", "statuses"),
    [
        (Step("x", turns(Rule("turn", 1)), {"a": Lit(0)}), {"x": "succeeded", "x@0": "succeeded", "x@1": "succeeded"}),
        (Step("x", turns(Rule("turn", 9), 2), {"a": Lit(0)}), {"x": "succeeded", "x@1": "succeeded"}),
        (Step("x", turns(Rule("turn", 9), 2, exhausted="fail"), {"a": Lit(0)}, on_error="skip"),
         {"x": "failed", "x@0": "succeeded", "x@1": "succeeded"}),
        (Step("x", turns(Rule("turn", 1), 2, exhausted="fail"), {"a": Lit(0)}), {"x": "succeeded", "x@1": "succeeded"}),
        (Step("x", turns(Rule("key", as_function=True)), {"a": Lit(0)}, on_error="skip"),
         {"x": "failed", "x@0": "succeeded"}),
        (Step("x", turns(Rule("turn", 0), body=DOOMED), {"a": Lit(0)}, on_error=Dflt(7)),
         {"x": "failed", "x@0": "failed"}),
        (Step("x", turns(Rule("turn", 0), body=SKIPPING), {"q9": Lit(1)}), {"x": "skipped", "x@0": "skipped"}),
        (Step("x", turns(Rule("turn", 0)), {"a": Ref("bad")}), {"x": "skipped"}),
        (picks("word", **{CHOSEN: leaf("t7"), OTHER: leaf("t8")}),
         {"x": "succeeded", f"x/{CHOSEN}": "succeeded", f"x/{OTHER}": "skipped"}),
        (picks("word", **{CHOSEN: FAILING, OTHER: leaf("t8")}),
         {"x": "failed", f"x/{CHOSEN}": "failed", f"x/{CHOSEN}/y": "failed"}),
        (picks("word", **{CHOSEN: SKIPPING}), {"x": "skipped", f"x/{CHOSEN}": "skipped", f"x/{CHOSEN}/y": "skipped"}),
        (picks("q", **{"2": leaf("t7")}), {"x": "succeeded", "x/2": "succeeded"}),
        (picks("q", **{"3": leaf("t7")}), {"x": "failed"}),
        (picks("q", otherwise=True, **{"3": leaf("t7")}),
         {"x": "succeeded", "x/3": "skipped", "x/otherwise": "succeeded"}),
        (picks("unasked", **{"3": leaf("t7")}), {"x": "skipped"}),
        (Step("x", Leaf("ask", "t9", "bool", 0), {"a": Ref("good")}), {"x": "succeeded"}),
        (Step("x", Leaf("ask", "t9", "bool", 1), {"a": Ref("good")}, on_error=Dflt(True)), {"x": "failed"}),
    ],
)  # fmt: skip
def test_interpreter_and_engine_read_loops_dispatch_and_questions_as_specified(
    step: Step, statuses: dict[str, str]
) -> None:
    flow = top(GOOD, BAD, UNASKED, WORD, step, output="good")
    found = {path: status for path, (status, _) in interpreted(flow).steps.items() if path.startswith("x")}
    assert found.items() >= statuses.items()
    check(flow)


def test_the_interpreter_lets_the_log_decide_first_n_and_keeps_the_declared_order() -> None:
    flow = top(*(Step(f"s{i}", leaf(f"t{i}"), on_error="skip") for i in range(3)),
               output=FirstN((Ref("s0"), Ref("s1"), Ref("s2")), 2))  # fmt: skip
    values = [interpreted(flow).steps[f"s{i}"][1] for i in range(3)]
    assert interpreted(flow, log=["s2", "s0", "s1"]).output == [values[0], values[2]]
    assert interpreted(flow, log=["s1", "s2", "s0"]).output == [values[1], values[2]]


def test_the_interpreter_goes_on_beside_a_failure_but_not_behind_it() -> None:
    flow = top(Step("bad", leaf("t2", fails=1)), Step("behind", leaf("t4"), {"a": Ref("bad")}),
               Step("behind-all", leaf("t5"), {"a": Opt(Ref("bad"), 1)}), GOOD, output="good")  # fmt: skip
    result = interpreted(flow)
    assert result.loose == [""]
    assert {path: status for path, (status, _) in result.steps.items()} == {
        "bad": "failed", "behind": "pending", "behind-all": "pending", "good": "succeeded",
    }  # fmt: skip


def test_the_interpreter_notes_each_prompt_with_its_path() -> None:
    inner = Flow({"q9": REQUIRED}, (Step("y", Leaf("prompt", "t1", "text", 0), {"q9": Ref("q9")}),), Ref("y"))
    flow = top(Step("m", inner, {"q9": Each(Lit([None, "a", [1]]))}, is_map=True), output="m")
    assert interpreted(flow).requests == Counter(
        {("m[0]/y", "t1 q9=[null]"): 1, ("m[1]/y", "t1 q9=[a]"): 1, ("m[2]/y", "t1 q9=[[1]]"): 1}
    )
