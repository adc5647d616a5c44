"""Scripts as steps of a workflow: what they are given, what they give, and what becomes of their failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmorch import Default, Orchestrator, Payload, Script, StepError, TimedOut, Workflow, WorkflowInvalid, each
from llmorch.testing import ScriptedProvider

pytestmark = pytest.mark.anyio

TOLD = "import json, sys\ntold = json.load(sys.stdin)\n"
Write = Callable[[str, str], None]


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    return tmp_path / "scripts"


@pytest.fixture
def write(roots: Path) -> Write:
    def write(name: str, code: str) -> None:
        (roots / f"{name}.py").write_text(TOLD + code, encoding="utf-8")

    return write


async def test_bindings_are_its_dependencies_and_input_is_its_input(roots: Path, write: Write) -> None:
    write("tell", "print(json.dumps({'told': told}))")
    wf = Workflow("w")
    first = wf.add(Payload("first", "Say one."))
    told = wf.add(Script("tell", parameters={"n": 1}), input="in", first=first, listed=[first, 2])
    wf.returns(told["told"])
    provider = ScriptedProvider({"first": "one"})
    async with Orchestrator(providers=[provider], model="scripted:m", scripts=[roots]) as orch:
        run = await orch.run(wf)
    assert run.output == {
        "input": "in",
        "parameters": {"n": 1},
        "context": {},
        "dependencies": {
            "first": {"response": "one", "status": "success"},
            "listed": {"response": ["one", 2], "status": "success"},
        },
    }


async def test_an_input_of_the_workflow_named_input_is_bound_by_its_name(roots: Path, write: Write) -> None:
    write("upper", "print(told['input'].upper())")
    wf = Workflow("w")
    wf.input("input", str)
    wf.add(Script("upper"))
    async with Orchestrator(scripts=[roots]) as orch:
        assert (await orch.run(wf, input="ab")).output == "AB"


async def test_a_failure_carries_what_the_script_said_and_follows_the_policy(roots: Path, write: Write) -> None:
    write("broken", "sys.stderr.write('no such table'); sys.exit(3)")
    wf = Workflow("w")
    wf.add(Script("broken"), on_error=Default("none"))
    async with Orchestrator(scripts=[roots]) as orch:
        run = await orch.run(wf)
    assert (run.status, run.output) == ("partial", "none")
    error = run.failures["broken"]
    assert isinstance(error, StepError)
    assert "exit code 3" in str(error)
    assert "no such table" in str(error)


async def test_what_says_that_it_failed_is_no_success(roots: Path, write: Write) -> None:
    write("sorry", "print(json.dumps({'success': False, 'error': 'no data'}))")
    async with Orchestrator(scripts=[roots]) as orch:
        run = await orch.run(Workflow.of(Script("sorry"), name="w"))
    assert run.status == "failed"
    assert "no data" in str(run.error)


async def test_a_script_that_takes_too_long_is_ended(roots: Path, write: Write) -> None:
    write("slow", "import time; time.sleep(60)")
    async with Orchestrator(scripts=[roots]) as orch:
        run = await orch.run(Workflow.of(Script("slow", timeout=0.3), name="w"))
    assert isinstance(run.error, TimedOut)


async def test_a_map_runs_it_for_each_item(roots: Path, write: Write) -> None:
    write("square", "print(json.dumps({'n': told['input'] ** 2}))")
    wf = Workflow("w")
    wf.map(Script("square"), input=each([1, 2, 3]), concurrency=2)
    async with Orchestrator(scripts=[roots]) as orch:
        assert (await orch.run(wf)).output == [{"n": 1}, {"n": 4}, {"n": 9}]


async def test_a_script_that_is_not_there_is_told_before_anything_runs(roots: Path, write: Write) -> None:
    write("count_words", "print(1)")
    wf = Workflow("w")
    wf.add(Payload("first", "Say one."))
    wf.add(Script("count-wrods"))
    wf.returns({"first": "first"})
    provider = ScriptedProvider({"first": "one"})
    async with Orchestrator(providers=[provider], model="scripted:m", scripts=[roots]) as orch:
        orch.plan(wf)  # which opens nothing
        with pytest.raises(WorkflowInvalid, match="count_words"):
            await orch.run(wf)
    assert provider.requests == []


async def test_only_what_is_declared_pure_is_taken_from_the_cache(roots: Path, write: Write, tmp_path: Path) -> None:
    book = tmp_path / "book"
    write("note", f"open({str(book)!r}, 'a').write('x'); print(told['input'])")
    async with Orchestrator(scripts=[roots], cache=True) as orch:
        pure = Workflow.of(Script("note", pure=True), name="w")
        pure.input("input", str)
        first, again = [await orch.run(pure, input="a") for _ in range(2)]
        other = await orch.run(pure, input="b")
        assert (first.output, again.output, other.output) == ("a", "a", "b")
        assert (first.steps["note"].cached, again.steps["note"].cached) == (False, True)
        assert book.read_text() == "xx"
        impure = Workflow.of(Script("note"), name="w")
        impure.input("input", str)
        for _ in range(2):
            await orch.run(impure, input="a")
        assert book.read_text() == "xxxx"


async def test_a_fork_runs_only_the_script_whose_bytes_changed(roots: Path, write: Write, tmp_path: Path) -> None:
    book = tmp_path / "book"
    for name in ("one", "two"):
        write(name, f"open({str(book)!r}, 'a').write({name!r} + ' '); print({name!r})")
    wf = Workflow("w")
    one, two = wf.add(Script("one")), wf.add(Script("two"))
    wf.returns([one, two])
    async with Orchestrator(f"sqlite:///{tmp_path / 'runs.db'}", scripts=[roots], workflows=[wf]) as orch:
        run = await orch.run(wf)
        write("two", f"open({str(book)!r}, 'a').write('new '); print('new')")
        forked = await (await orch.fork(run.id)).result()
    assert run.output == ["one", "two"]
    assert forked.output == ["one", "new"]
    assert sorted(book.read_text().split()) == ["new", "one", "two"]


async def test_a_workflow_with_a_script_is_written_to_a_file_and_read_back(roots: Path, write: Write) -> None:
    write("double", "print(told['input'] * told['parameters']['times'])")
    wf = Workflow("w")
    wf.input("input", str)
    wf.add(Script("double", parameters={"times": 2}, timeout=5, env=["LANG"]))
    again = Workflow.from_yaml(wf.to_yaml())
    assert json.loads(json.dumps(again.to_dict())) == wf.to_dict()
    async with Orchestrator(scripts=[roots]) as orch:
        assert (await orch.run(again, input="ab")).output == "abab"
