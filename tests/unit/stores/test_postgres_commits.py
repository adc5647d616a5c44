"""How the PostgreSQL store commits: once, whatever becomes of the connection, and nobody in another's way."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from llmorch import (
    AlreadyAnswered,
    CallFinished,
    CallStarted,
    ClaimLost,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
)
from llmorch.ports import Claim, InboxItem
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.unit.stores.postgres_parts import made, new_schema, note, proxy, raw, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return new_schema()


@asynccontextmanager
async def opened(
    server: PostgresServer, schema: str, *, url: str | None = None, patience_s: float = 60.0
) -> AsyncIterator[SqlAlchemyStore]:
    store = SqlAlchemyStore(url or server.url(), schema=schema, patience_s=patience_s)
    try:
        yield store
    finally:
        await store.aclose()


def counted(server: PostgresServer, schema: str) -> tuple[object, ...]:
    """Runs, events and items there are."""
    with raw(server, schema) as somebody:
        found = somebody.execute(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM events), (SELECT count(*) FROM inbox)"
        ).fetchone()
    assert found is not None
    return found


async def test_what_was_committed_without_an_answer_is_not_done_twice(server: PostgresServer, schema: str) -> None:
    item = InboxItem("answer", "ask", 0, "yes", 5)
    with proxy(server) as between:
        async with opened(server, schema, url=between.url()) as store:
            await made(store, "r0", owner=None)
            asked: list[Callable[[], Awaitable[object]]] = [
                partial(made, store, "r1"),
                partial(store.append, Claim("r1", 1, 1), [note("r1", 2), note("r1", 3)]),
                partial(store.post, "r1", item),
                partial(store.claim, "r0", store.owner),
                partial(store.append, Claim("r1", 1, 3), [note("r1", 4)], status="failed", consumed=[item]),
                partial(store.release, Claim("r0", 2, 1), status="waiting"),
                partial(store.delete_run, "r0"),
            ]
            for number, ask in enumerate(asked, start=1):
                between.loses_replies = 1
                await ask()
                assert between.lost == number
            assert counted(server, schema) == (1, 4, 1)
            row = await store.load("r1")
            assert (row.last_seq, row.status, row.epoch, row.recoveries) == (4, "failed", 1, 0)
            with pytest.raises(AlreadyAnswered):
                await store.post("r1", item)


async def test_a_unit_goes_on_when_its_connection_is_ended_in_the_middle(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        session = store._parts.writer._link.session
        assert session is not None
        pid = session.raw.info.backend_pid
        with raw(server, schema) as somebody, raw(server, schema) as holder:
            async with anyio.create_task_group() as tasks:
                with holder.transaction():
                    holder.execute("SELECT 1 FROM runs FOR UPDATE")
                    tasks.start_soon(partial(store.append, claim, [note("r1", 2), note("r1", 3)], status="waiting"))
                    await until(lambda: store.trouble == "store-busy")
                    assert somebody.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
                    await until(lambda: store._parts.writer._link.session not in (None, session))
            assert store.trouble is None
        assert [event.seq for event in await store.events("r1")] == [1, 2, 3]


async def test_a_locked_run_stands_in_nobody_elses_way(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema, patience_s=0.4) as store:
        claims = [await made(store, f"r{number}") for number in range(3)]
        with raw(server, schema) as somebody:
            async with anyio.create_task_group() as tasks:
                with somebody.transaction():
                    somebody.execute("SELECT 1 FROM runs WHERE id = 'r0' FOR UPDATE")
                    tasks.start_soon(store.append, claims[0], [note("r0", 2)])
                    await until(lambda: store.trouble == "store-busy")
                    for claim in claims[1:]:
                        assert (await store.append(claim, [note(claim.run_id, 2)])).last_seq == 2
                    with pytest.raises(StoreBusy, match=r"stayed locked for 0\.4 s"):
                        await store.post("r0", InboxItem("cancel"))
                    assert (await store.load("r0")).last_seq == 1
        assert (await store.load("r0")).last_seq == 2
        assert await store.inbox("r0") == []
        await until(lambda: store.trouble is None)


async def test_a_unit_that_cannot_be_written_stands_in_nobodys_way(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claims = [await made(store, f"r{number}") for number in range(4)]
        ended: dict[str, str] = {}

        async def append(claim: Claim) -> None:
            event = (
                note(claim.run_id, 2)
                if claim.run_id != "r2"
                else CallStarted("s", 1 << 70, "p", "m", run_id="r2", seq=2)
            )
            try:
                await store.append(claim, [event])
                ended[claim.run_id] = "committed"
            except StoreError as error:
                ended[claim.run_id] = str(error)

        with raw(server, schema) as somebody:
            async with anyio.create_task_group() as tasks:
                with somebody.transaction():
                    somebody.execute("SELECT 1 FROM runs FOR UPDATE")
                    for claim in claims:
                        tasks.start_soon(append, claim)
                    await until(lambda: store.trouble == "store-busy")
        refused = ended.pop("r2")
        assert ended == {"r0": "committed", "r1": "committed", "r3": "committed"}
        assert "cannot keep this (22003" in refused
        assert [(await store.load(claim.run_id)).last_seq for claim in claims] == [2, 2, 1, 2]


async def test_text_that_postgres_does_not_take_is_refused_to_its_caller(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        with pytest.raises(StoreError, match="cannot keep this"):
            await store.post("r1", InboxItem("answer", "a\0b"))
        with pytest.raises((ValueError, TypeError)):
            await store.post("r1", InboxItem("answer", "ask", data=float("nan")))
        with pytest.raises(ValueError, match="seq 4 stands where 3 was due"):
            await store.append(claim, [note("r1", 2), note("r1", 4)])
        assert await store.inbox("r1") == []


async def test_on_a_full_disk_units_wait_and_everybody_else_is_told(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        with raw(server, schema) as somebody:
            somebody.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"
            )
            for table in ("events", "inbox"):
                somebody.execute(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.append, claim, [note("r1", 2)])
                await until(lambda: store.trouble == "store-full")
                with pytest.raises(StoreFull, match=r"no room left .*53100"):
                    await store.post("r1", InboxItem("cancel"))
                with pytest.raises(StoreFull):
                    await made(store, "r2")
                assert (await store.load("r1")).last_seq == 1
                for table in ("events", "inbox"):
                    somebody.execute(f"DROP TRIGGER full_disk ON {table}")
        assert (await store.load("r1")).last_seq == 2
        assert store.trouble is None


async def test_a_damaged_or_missing_event_is_told_with_its_number(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        await store.append(claim, [note("r1", seq) for seq in (2, 3, 4)])
        with raw(server, schema) as somebody:
            somebody.execute("UPDATE events SET data = '{}' WHERE seq = 3")
            with pytest.raises(StoreCorrupt, match="event 3 is not what was written"):
                await store.events("r1")
            somebody.execute("DELETE FROM events WHERE seq = 3")
            with pytest.raises(StoreCorrupt, match="event 3 is missing"):
                await store.events("r1")
            somebody.execute("DELETE FROM events WHERE seq = 4")
        with pytest.raises(StoreCorrupt, match="event 3 is missing"):
            await store.events("r1")
        assert [event.seq for event in await store.events("r1", limit=2)] == [1, 2]


async def test_a_server_that_says_nothing_any_more_is_busy_and_units_go_on_with_it(
    server: PostgresServer, schema: str
) -> None:
    with proxy(server) as between:
        async with opened(server, schema, url=between.url(), patience_s=0.3) as store:
            claim = await made(store, "r1")
            await store.load("r1")
            store._parts.watch._after_s = 0.2
            async with anyio.create_task_group() as tasks:
                between.silence()
                tasks.start_soon(store.append, claim, [note("r1", 2)])
                for ask in (partial(store.load, "r1"), partial(store.post, "r1", InboxItem("cancel"))):
                    with pytest.raises(StoreBusy, match=r"could not be reached for 0\.3 s"):
                        await ask()
                assert store.trouble == "store-failing"
                between.cut()
                between.speak()
            assert (await store.load("r1")).last_seq == 2


async def test_a_revision_differs_after_each_commit_of_any_process(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store, opened(server, schema) as other:
        claim = await made(other, "r1")
        seen = [await store.revision()]
        for seq in range(2, 12):
            claim.last_seq = (await other.append(claim, [note("r1", seq)])).last_seq
            seen.append(await store.revision())
        assert len(set(seen)) == len(seen)
        assert sorted(seen) == seen


async def test_a_revision_stays_while_nobody_commits(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        await store.list_runs()

        async def is_still() -> bool:
            return await store.revision() == await store.revision()

        await until(is_still)  # what the store tells others at its beginning is a commit, too


async def test_a_commit_of_another_process_is_heard_of(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store, opened(server, schema) as other:
        claim = await made(other, "r1")
        await store.load("r1")
        await until(lambda: store._parts.revision.is_listening)
        with anyio.fail_after(60):
            for seq in range(2, 6):
                before = await store.revision()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other.append, claim, [note("r1", seq)])
                    while await store.revision() == before:
                        await store.changed(before, timeout_s=3_600)
                claim.last_seq = seq


async def test_who_waits_for_a_change_looks_himself_when_nothing_is_heard(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        before = await store.revision()
        await until(lambda: store._parts.revision.is_listening)
        await store.changed(before, timeout_s=0)
        await store.changed(before + 1, timeout_s=3_600)  # that is not the number any more
        store._parts.revision.is_listening = False
        with anyio.fail_after(60):
            await store.changed(before, timeout_s=3_600)


async def test_usage_is_read_from_the_view_of_calls(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        text = 'a \0 b \ud83d c \\u0000 " 😀'
        unit = [
            CallStarted("draft", 1, "openai", "gpt", run_id="r1", seq=2, at_us=7),
            CallFinished("draft", 1, finish_reason=text, run_id="r1", seq=3, at_us=9),
        ]
        await store.append(claim, unit)
    with raw(server, schema) as somebody:
        found = somebody.execute(
            "SELECT run, step, call, provider, model, started_at, finished_at FROM calls"
        ).fetchall()
    assert found == [("r1", "draft", 1, "openai", "gpt", 7, 9)]


async def test_sessions_that_lock_each_others_runs_both_go_on(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as one, opened(server, schema) as two:
        claims = [await made(one, "a"), await made(two, "b")]

        async def grow(store: SqlAlchemyStore, claim: Claim, other: str) -> None:
            async with anyio.create_task_group() as tasks:
                for seq in range(2, 30):
                    tasks.start_soon(store.post, other, InboxItem("wake", call=seq))
                    claim.last_seq = (await store.append(claim, [note(claim.run_id, seq)])).last_seq

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grow, one, claims[0], "b")
            tasks.start_soon(grow, two, claims[1], "a")
        for name in ("a", "b"):
            assert (await one.load(name)).last_seq == 29
            assert len(await one.inbox(name)) == 28


async def test_a_store_that_was_closed_says_so(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
    with pytest.raises(StoreError, match="closed"):
        await store.append(claim, [note("r1", 2)])
    await store.aclose()


async def test_a_store_that_nobody_closed_ends_its_threads(server: PostgresServer, schema: str) -> None:
    async def use() -> None:
        store = SqlAlchemyStore(server.url(), schema=schema)
        await made(store, "r1")
        await store.load("r1")
        assert names()

    def names() -> list[str]:
        found = [one.name for one in threading.enumerate() if one.name.startswith("llmorch-")]
        return [
            name for name in found if name != "llmorch-portal"
        ]  # the one of the process, for code that is not async

    await use()
    gc.collect()
    await until(lambda: not names())


async def test_a_lost_epoch_is_refused_in_the_transaction_that_keeps_what_was_paid_for(
    server: PostgresServer, schema: str
) -> None:
    async with opened(server, schema) as store:
        claim = await made(store, "r1")
        with raw(server, schema) as somebody:
            somebody.execute("UPDATE runs SET epoch = 5, owner = 'other'")
        with pytest.raises(ClaimLost, match=r"owned by other now \(epoch 5, not 1\)"):
            await store.append(claim, [note("r1", 2)])
        assert store._parts.leases.held() == {}
        with pytest.raises(Exception, match='relation "events" does not exist'), raw(server, "public") as somebody:
            somebody.execute("SELECT 1 FROM events")  # everything is in the schema
