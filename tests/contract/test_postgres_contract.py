"""The PostgreSQL store keeps every rule of run stores, and workflows run on it and outlive their process."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import pytest

from llmorch import ClaimLost, Orchestrator, RunNotFound, RunResumed, StepFailed, Workflow, each
from llmorch.ports import InboxItem
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from llmorch.testing.store_conformance import check_run_store
from tests.architecture.tree import ROOT
from tests.contract.postgres_server import PostgresServer, shared_server

LEASE: dict[str, float] = {"lease_s": 1.0, "renew_s": 0.3}


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return f"test_{secrets.token_hex(6)}"


@pytest.mark.parametrize("durability", ["power", "process"])
def test_the_postgres_store_passes_the_conformance_suite(
    server: PostgresServer, durability: Literal["power", "process"]
) -> None:
    schemas: dict[int, str] = {}

    def factory() -> SqlAlchemyStore:
        name = f"test_{secrets.token_hex(6)}"
        store = SqlAlchemyStore(server.url(), schema=name, durability=durability)
        schemas[id(store)] = name
        return store

    def reopen(store: object) -> SqlAlchemyStore:
        return SqlAlchemyStore(server.url(), schema=schemas[id(store)], durability=durability)

    backends = ["asyncio", "trio"] if durability == "power" else ["asyncio"]
    report = check_run_store(factory, reopen=reopen, backends=backends, limit_s=30)
    assert set(report.skipped) == {"instant"}
    assert len(report.passed) >= 34


def numbers(*, calls: list[str], is_broken: bool) -> Workflow[Any]:
    async def first() -> list[int]:
        calls.append("first")
        return [1, 2, 3]

    async def item(n: int) -> int:
        calls.append(f"item {n}")
        if is_broken and n == 2:
            raise ValueError("not this time")
        return n * 10

    async def last(items: list[int]) -> str:
        calls.append("last")
        return f"sum {sum(items)}"

    made: Workflow[Any] = Workflow("numbers")
    items = made.map(item, name="items", n=each(made.add(first)), concurrency=1)
    return made.returns(made.add(last, items=items))


@pytest.mark.anyio
async def test_a_workflow_runs_is_listed_and_resumed_by_another_orchestrator(
    server: PostgresServer, schema: str
) -> None:
    calls: list[str] = []
    async with Orchestrator(SqlAlchemyStore(server.url(), schema=schema)) as orchestrator:
        run = await orchestrator.run(numbers(calls=calls, is_broken=True))
        assert run.status == "failed"
        log = [event async for event in orchestrator.attach(run.id).events()]
        assert any(isinstance(event, StepFailed) for event in log)
    done = list(calls)
    flow = numbers(calls=calls, is_broken=False)
    async with Orchestrator(SqlAlchemyStore(server.url(), schema=schema), workflows=[flow]) as orchestrator:
        (listed,) = await orchestrator.runs()
        assert (listed.id, listed.status) == (run.id, "failed")
        again = await (await orchestrator.resume(run.id)).result()
        assert (again.status, again.output) == ("succeeded", "sum 60")
        assert "first" not in calls[len(done) :]
        seqs = [event.seq async for event in orchestrator.attach(run.id).events()]
        assert seqs == list(range(1, len(seqs) + 1))


CHILD = """
import sys
import anyio
from llmorch import Orchestrator
from llmorch.ports import InboxItem
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.test_postgres_contract import LEASE, hanging

async def main():
    flow = hanging(is_stuck=True)
    store = SqlAlchemyStore(sys.argv[1], schema=sys.argv[2], **LEASE)
    async with Orchestrator(store, workflows=[flow]) as orchestrator:
        handle = await orchestrator.start(flow)
        print(handle.id, flush=True)
        await handle.result()

anyio.run(main)
"""


def hanging(*, is_stuck: bool) -> Workflow[Any]:
    """Two steps; the second hangs when it is told to."""

    async def first() -> str:
        assert is_stuck, "what was recorded is not done again"
        return "first"

    async def second(text: str) -> str:
        if is_stuck:
            print("hangs", flush=True)
            await anyio.sleep_forever()
        return f"{text}, second"

    made: Workflow[Any] = Workflow("hanging")
    return made.returns(made.add(second, text=made.add(first)))


@contextmanager
def stuck(server: PostgresServer, schema: str) -> Iterator[str]:
    """The id of a run that hangs in its second step, in a process that is killed at the end of the block."""
    command = [sys.executable, "-c", CHILD, server.url(), schema]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            run_id = child.stdout.readline().strip()
            assert child.stdout.readline().strip() == "hangs"
            yield run_id
        finally:
            child.kill()


@pytest.mark.anyio
async def test_a_run_whose_process_was_killed_goes_on_when_its_lease_is_over(
    server: PostgresServer, schema: str
) -> None:
    flow = hanging(is_stuck=False)
    store = SqlAlchemyStore(server.url(), schema=schema, **LEASE)
    async with Orchestrator(store, workflows=[flow], recover=False) as orchestrator:
        with stuck(server, schema) as run_id:
            with pytest.raises(ClaimLost):
                await orchestrator.resume(run_id)
            assert (await orchestrator.get(run_id)).status == "running"
        with anyio.fail_after(30):
            while not await store.recoverable(now=0):
                await anyio.lowlevel.checkpoint()
        assert (await orchestrator.get(run_id)).status == "interrupted"
        run = await (await orchestrator.resume(run_id)).result()
        assert (run.status, run.output) == ("succeeded", "first, second")
        log = [event async for event in orchestrator.attach(run_id).events()]
        assert sum(isinstance(event, RunResumed) for event in log) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("run_id", ["", "a\0b", "\ud800", "é", "x" * 5000, 3, b"x", ["x"]])
async def test_an_id_that_no_run_can_have_is_not_found(server: PostgresServer, schema: str, run_id: Any) -> None:
    store = SqlAlchemyStore(server.url(), schema=schema)
    try:
        for ask in (
            store.load(run_id), store.events(run_id), store.inbox(run_id), store.delete_run(run_id),
            store.claim(run_id, "me"), store.post(run_id, InboxItem("cancel")),
        ):  # fmt: skip
            with pytest.raises(RunNotFound):
                await ask
    finally:
        await store.aclose()
