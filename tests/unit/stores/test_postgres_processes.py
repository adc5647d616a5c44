"""One PostgreSQL store and several processes: stopped, killed, forked, and all at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from contextlib import ExitStack

import anyio
import pytest

from llmorch import ClaimLost, StepSucceeded
from llmorch.event_late import late_events
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.unit.stores.postgres_parts import LIMIT_S, child, heard, made, new_schema, note, tell, until


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return new_schema()


def opened(server: PostgresServer, schema: str) -> SqlAlchemyStore:
    return SqlAlchemyStore(server.url(), schema=schema, lease_s=1.0, renew_s=0.3)


async def is_free(store: SqlAlchemyStore, run_id: str) -> bool:
    return run_id in [row.id for row in await store.recoverable(now=0)]


@pytest.mark.anyio
async def test_a_process_stopped_past_its_lease_writes_nothing_and_its_answer_waits_in_the_inbox(
    server: PostgresServer, schema: str
) -> None:
    with child("own", server.url(), schema, "r1") as owner:
        _, name = heard(owner).split()
        store = opened(server, schema)
        with pytest.raises(ClaimLost, match=name):
            await store.claim("r1", store.owner)

        owner.send_signal(signal.SIGSTOP)
        await until(lambda: is_free(store, "r1"))
        assert (await store.load("r1")).owner is None
        mine = await store.claim("r1", store.owner)
        assert (mine.epoch, mine.last_seq) == (2, 1)
        assert (await store.load("r1")).recoveries == 1

        tell(owner)
        owner.send_signal(signal.SIGCONT)
        said = heard(owner)
        assert said.startswith("lost: Run r1 is owned by"), said
        assert store.owner in said
        assert [event.seq for event in await store.events("r1")] == [1]
        (late,) = await store.inbox("r1")
        assert (late.kind, late.step, late.call) == ("late", "draft", 1)
        assert [event.value for event in late_events(late) if isinstance(event, StepSucceeded)] == ["Tea."]
        assert (await store.append(mine, [note("r1", 2)])).inbox is True
        assert (await store.load("r1")).owner == store.owner  # the other's renewals did not touch it
        await store.aclose()


@pytest.mark.anyio
async def test_a_process_stopped_inside_a_transaction_does_not_keep_others_from_its_run(
    server: PostgresServer, schema: str
) -> None:
    with child("stop", server.url(), schema, "r1") as owner:
        heard(owner)
        assert heard(owner) == "inside"
        store = opened(server, schema)
        await until(lambda: is_free(store, "r1"))
        mine = await store.claim("r1", store.owner)
        assert (mine.epoch, mine.last_seq) == (2, 1)
        await store.append(mine, [note("r1", 2, "mine")])
        owner.send_signal(signal.SIGCONT)
        assert heard(owner) == "lost"
        assert [event.seq for event in await store.events("r1")] == [1, 2]
        await store.aclose()


@pytest.mark.anyio
async def test_a_run_of_a_killed_process_is_taken_when_its_lease_is_over(server: PostgresServer, schema: str) -> None:
    with child("own", server.url(), schema, "r1") as owner:
        heard(owner)
        store = opened(server, schema)
        assert await store.recoverable(now=2**60) == []
        owner.kill()
        owner.wait(LIMIT_S)
        with pytest.raises(ClaimLost):
            await store.claim("r1", store.owner)
        await until(lambda: is_free(store, "r1"))
        assert (await store.claim("r1", store.owner)).epoch == 2
        await store.aclose()


@pytest.mark.anyio
async def test_a_process_that_ends_in_good_order_leaves_its_runs_to_others_at_once(
    server: PostgresServer, schema: str
) -> None:
    first = SqlAlchemyStore(server.url(), schema=schema)  # leases of 30 s
    await made(first, "r1")
    second = SqlAlchemyStore(server.url(), schema=schema)
    with pytest.raises(ClaimLost, match=first.owner):
        await second.claim("r1", second.owner)
    await first.aclose()
    assert (await second.claim("r1", second.owner)).epoch == 2
    await second.aclose()


@pytest.mark.anyio
async def test_a_process_that_ends_without_closing_its_store_keeps_no_run(server: PostgresServer, schema: str) -> None:
    with child("leave", server.url(), schema, "r1") as other:
        assert other.wait(LIMIT_S) == 0
    store = SqlAlchemyStore(server.url(), schema=schema)
    assert (await store.claim("r1", store.owner)).epoch == 2
    await store.aclose()


def test_processes_that_open_a_fresh_database_at_once_all_find_its_tables(server: PostgresServer, schema: str) -> None:
    with ExitStack() as stack:
        children: list[subprocess.Popen[str]] = [
            stack.enter_context(child("open", server.url(), schema)) for _ in range(4)
        ]
        assert [heard(one) for one in children] == ["ready"] * 4
        for one in children:
            tell(one)
        assert [heard(one) for one in children] == ["opened"] * 4


def test_processes_that_claim_at_once_share_the_runs_without_one_twice(server: PostgresServer, schema: str) -> None:
    names = [f"r{number}" for number in range(40)]

    async def make() -> None:
        store = opened(server, schema)
        for name in names:
            await made(store, name, owner=None)
        await store.aclose()

    async def epochs() -> set[int]:
        store = opened(server, schema)
        found = {(await store.load(name)).epoch for name in names}
        await store.aclose()
        return found

    anyio.run(make)
    with child("race", server.url(), schema, *names) as one, child("race", server.url(), schema, *names) as two:
        assert [heard(one), heard(two)] == ["ready", "ready"]
        tell(one)
        tell(two)
        won = json.loads(heard(one)) + json.loads(heard(two))
    assert sorted(won) == sorted(names)
    assert anyio.run(epochs) == {2}


def test_a_forked_child_may_not_use_the_store_and_does_it_no_harm(server: PostgresServer, schema: str) -> None:
    with child("inherit", server.url(), schema, "r1") as parent:
        assert [heard(parent), heard(parent)] == ["refused", "1"]
        assert parent.wait(LIMIT_S) == 0


def test_twenty_kills_in_the_middle_of_writing_lose_nothing_that_was_acknowledged(
    server: PostgresServer, schema: str
) -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 30)))
    with child("storm", server.url(), schema, seed, 20) as storm:
        output, _ = storm.communicate(timeout=180)
    verdict, _, count = output.strip().partition(" ")
    assert verdict == "ok", f"TEST_SEED={seed}: {output}"
    assert int(count) > 20, f"TEST_SEED={seed}: {output}"
