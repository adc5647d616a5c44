"""`when` on every kind of step: false, nothing of it happens; true, it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmorch import Payload, Question, Script, StepStarted, StepWaiting, Workflow, each
from tests.flow.stage import one, stage

pytestmark = pytest.mark.anyio


def ones(x: int) -> int:
    return x


def inner() -> Workflow[Any]:
    wf = Workflow("inner")
    return wf.returns(wf.add(one, name="leaf"))


def guarded(kind: str, folder: Path) -> Workflow[Any]:
    """A workflow whose step `it`, of that kind, is run only when `flag` is true."""
    script = folder / "told.py"
    script.write_text("print('told')\n", encoding="utf-8")
    wf = Workflow("w")
    wf.input("flag", bool)
    options: dict[str, Any] = {"name": "it", "when": "flag"}
    match kind:
        case "payload":
            it = wf.add(Payload("p", "Say it."), **options)
        case "function":
            it = wf.add(one, **options)
        case "script":
            it = wf.add(Script(script), **options)
        case "workflow":
            it = wf.add(inner(), **options)
        case "question":
            it = wf.add(Question("Well?"), **options)
        case "map":
            it = wf.map(ones, x=each([1, 2]), **options)
        case "loop":
            it = wf.loop(ones, until="true", max_iterations=2, carry={"x": "output"}, x=1, **options)
        case _:
            it = wf.dispatch(wf.input("key", str, default="a"), among={"a": one, "b": inner()}, **options)
    return wf.returns(it)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])  # in real time, as scripts are
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("kind", ["payload", "function", "script", "workflow", "question", "map", "loop", "dispatch"])
async def test_when_decides_over_every_kind_of_step(kind: str, flag: bool, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(question: StepWaiting) -> str:
        asked.append(question.step)
        return "yes"

    async with stage({"*": "said"}, on_ask=answer, scripts=[tmp_path]) as s:
        run = await s.orch.run(guarded(kind, tmp_path), flag=flag)
        assert run.status == "succeeded", run.error
        assert run.steps["it"].status == ("succeeded" if flag else "skipped")
        started = [event.step for event in await s.log(run) if isinstance(event, StepStarted)]
        assert bool(started) == flag
        assert len(s.provider.requests) == (flag and kind == "payload")
        assert len(asked) == (flag and kind == "question")
