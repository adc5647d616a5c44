"""The one sync door, and the default orchestrator behind verbs on values."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from llmorch import (
    AuthenticationFailed,
    InputInvalid,
    LLMOrchError,
    Orchestrator,
    OutputInvalid,
    Payload,
    Response,
    RunFailed,
    Usage,
    Workflow,
    WorkflowInvalid,
    configure,
)
from llmorch.testing import ScriptedProvider
from tests.flow.stage import fails, one


class Closing(ScriptedProvider):
    """Notes when it is closed."""

    def __init__(self, script: dict[str, object]) -> None:
        super().__init__(script)
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def provider() -> Iterator[Closing]:
    """What the default orchestrator asks."""
    scripted = Closing({"p": "P", "talk": "T", "no_json": "x", "refused": AuthenticationFailed("bad key")})
    configure(providers=[scripted], model="scripted:m")
    yield scripted
    configure()


HELLO = Payload("p", "Hello {{ who }}")


def test_run_sync_works_in_a_script(provider: Closing) -> None:
    assert Workflow.of(HELLO, name="w").run_sync(who="Ada").output == "P"
    assert Workflow.of(HELLO, name="w").run_sync({"who": "Ada"}).output == "P"
    response = HELLO.run_sync(who="Ada")
    assert isinstance(response, Response)
    assert (response.value, response.text, response.calls, response.model) == ("P", "P", 1, "scripted:m")
    assert response.messages[0].text == "Hello Ada"
    assert response.usage == Usage(input_tokens=3, output_tokens=1, requests=1)
    assert response.cost is None
    assert not response.cached
    assert len(provider.requests) == 3


@pytest.mark.anyio
async def test_run_sync_works_inside_a_running_loop(provider: Closing) -> None:
    assert HELLO.run_sync(who="Ada").value == "P"
    assert (await HELLO.run(who="Ada")).value == "P"
    assert Orchestrator(providers=[provider], model="scripted:m").run_sync(HELLO, who="Ada").output == "P"


def test_run_sync_from_several_threads(provider: Closing) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(HELLO.run_sync(who="x").value)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == ["P"] * 8
    assert sum(thread.name == "llmorch-portal" for thread in threading.enumerate()) == 1


def test_run_sync_on_the_portals_own_loop_is_refused(provider: Closing) -> None:
    async def nested() -> str:
        return HELLO.run_sync(who="x").value

    run = Workflow.of(nested, name="w").run_sync()
    assert run.status == "failed"
    assert "await" in str(run.error)


def test_a_sync_function_step_may_use_run_sync(provider: Closing) -> None:
    def nested() -> str:
        return HELLO.run_sync(who="x").value

    assert Workflow.of(nested, name="w").run_sync().output == "P"


def test_the_plain_context_manager(provider: Closing) -> None:
    with Orchestrator(providers=[provider], model="scripted:m") as orch:
        assert orch.run_sync(HELLO, who="x").output == "P"
        assert orch.run_sync(one).output == 1
        assert provider.closed == 0
    assert provider.closed == 1
    with pytest.raises(LLMOrchError, match="closed"):
        orch.run_sync(one)


def test_errors_come_through_bare(provider: Closing) -> None:
    with pytest.raises(InputInvalid):
        HELLO.run_sync()
    with pytest.raises(InputInvalid):
        HELLO.run_sync(whom="Ada")
    with pytest.raises(WorkflowInvalid):
        Workflow("empty").run_sync()
    with pytest.raises(OutputInvalid):
        Payload("no_json", "x", output=int).run_sync()
    with pytest.raises(AuthenticationFailed) as caught:
        Payload("refused", "x").run_sync()
    assert caught.value.step == "refused"
    run = Workflow.of(fails, name="w").run_sync()
    with pytest.raises(RunFailed):
        _ = run.output


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_default_orchestrator_closes_its_providers_when_its_loop_ends(backend: str, provider: Closing) -> None:
    async def main() -> None:
        before = provider.closed
        await HELLO.run(who="x")
        await HELLO.run(who="x")
        assert provider.closed == before

    for count in (1, 2):
        anyio.run(main, backend=backend)
        assert provider.closed == count
    assert len(provider.requests) == 4


@pytest.mark.anyio
async def test_verbs_of_a_workflow_use_the_default_orchestrator(provider: Closing) -> None:
    wf = Workflow.of(HELLO, name="w")
    assert "p" in str(wf.plan(who="x"))
    assert (await wf.run(who="x")).output == "P"
    async with wf.stream(who="x") as events:
        kinds = [type(event).__name__ async for event in events]
    assert kinds[-1] == "RunFinished"
    assert events.run.output == "P"
    with pytest.raises(InputInvalid, match="twice"):
        await wf.run({"who": 1}, who=2)


def test_configure_replaces_what_was_set(provider: Closing) -> None:
    other = Closing({"p": "other"})
    configure(providers=[other], model="scripted:m")
    assert HELLO.run_sync(who="x").value == "other"
    configure()
    with pytest.raises(WorkflowInvalid):
        HELLO.run_sync(who="x")


@pytest.mark.parametrize("wrong", [{"modle": "x"}, {"profiles_": 1}])
def test_configure_refuses_unknown_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        configure(**wrong)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_configure_leaves_runs_in_flight_alone(provider: Closing) -> None:
    started = anyio.Event()
    gate = anyio.Event()

    async def wait() -> int:
        started.set()
        await gate.wait()
        return 1

    outputs: list[Any] = []

    async def go() -> None:
        outputs.append((await Workflow.of(wait, name="w").run()).output)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go)
        await started.wait()
        configure(providers=[ScriptedProvider({"p": "new"})], model="scripted:m")
        assert (await HELLO.run(who="x")).value == "new"
        gate.set()
    assert outputs == [1]


SCRIPT = """
from llmorch import Payload, Workflow, configure
from llmorch.testing import ScriptedProvider
configure(providers=[ScriptedProvider({"a": "A", "b": "B"})], model="scripted:m")
wf = Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w")
print(wf.run_sync().output, end="")
"""
NOTEBOOK = """
import asyncio
from llmorch import Payload, Workflow, configure
from llmorch.testing import ScriptedProvider
configure(providers=[ScriptedProvider({"a": "A"})], model="scripted:m")
async def cell():
    print(Payload("a", "x").run_sync().value, (await Payload("a", "x").run()).value, end="")
asyncio.run(cell())
"""


@pytest.mark.parametrize(("code", "output"), [(SCRIPT, "B"), (NOTEBOOK, "A A")])
def test_a_program_ends_quietly_and_soon(code: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_a_fork_gets_a_portal_of_its_own(provider: Closing) -> None:
    import os

    assert HELLO.run_sync(who="x").value == "P"
    code = (
        "import os\n"
        "from llmorch import Payload, configure\n"
        "from llmorch.testing import ScriptedProvider\n"
        "configure(providers=[ScriptedProvider({'p': 'P'})], model='scripted:m')\n"
        "first = Payload('p', 'x').run_sync().value\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = Payload('p', 'x').run_sync().value == 'P'\n"
        "    os._exit(0 if ok else 1)\n"
        "print(first, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), end='')\n"
    )
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.stdout == "P 0", done.stderr


@pytest.mark.anyio
async def test_cancelling_a_caller_of_asyncio_cancels_its_run() -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        pytest.skip("asyncio's own way of cancelling")

    async def wait() -> None:
        await anyio.sleep(100)

    async with Orchestrator() as orch:
        task = loop.create_task(orch.run(wait))
        await anyio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (summary,) = await orch.runs()
        assert summary.status == "cancelled"
