"""A run that this process took and could not take up, or could not say so, is not left to nobody."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import ClaimLost, Orchestrator, RunFinished, RunResumed, Workflow
from llmorch.claims import Claims
from llmorch.errors import StoreBusy, StoreError
from llmorch.ports import Claim, InboxItem, RunRow
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from llmorch.stores.sqlite import SqliteStore
from tests.contract.postgres_server import shared_server
from tests.durability.faults_wait import until
from tests.unit.stores.sqlite_parts import locked

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmorch.lookout._RECOVER_S", 0.05)


def asking() -> Workflow[int]:
    async def twice(many: int) -> int:
        return 2 * many

    made: Workflow[int] = Workflow("asking")
    return made.returns(made.add(twice, many=made.ask("many", "How many?", answer=int)))


class Fails:
    """Something happens at a store's second look into an inbox, which is when a claimed run is taken up."""

    looks = 0
    then: Callable[[], Any] = staticmethod(lambda: None)

    async def inbox(self, run_id: str) -> Any:
        self.looks += 1
        if self.looks == 2:
            self.then()
            await anyio.lowlevel.checkpoint()
        return await super().inbox(run_id)  # type: ignore[misc]  # of the store it stands before


class FailingSqlite(Fails, SqliteStore):
    pass


class FailingSqlAlchemy(Fails, SqlAlchemyStore):
    pass


Opened = Callable[[], Any]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the store of the test, each time as another process would."""
    if request.param == "sqlite":
        return lambda: FailingSqlite(tmp_path / "runs.db")
    server, schema = shared_server(request.config), f"test_{secrets.token_hex(6)}"
    return lambda: FailingSqlAlchemy(server.url(), schema=schema)


@asynccontextmanager
async def waiting(opened: Opened) -> AsyncIterator[tuple[Orchestrator, Any, str]]:
    """A run that waits for an answer, and an orchestrator of another process, so to speak, that has its code."""
    async with Orchestrator(opened()) as first:
        run_id = (await first.run(asking())).id
    store = opened()
    async with Orchestrator(store, workflows=[asking()]) as orch:
        yield orch, store, run_id


def fail() -> None:
    raise StoreError("on purpose")


async def test_an_answer_counts_although_the_store_failed_when_it_was_taken_up(opened: Opened) -> None:
    async with waiting(opened) as (orch, store, run_id):
        store.then = fail
        await orch.answer(run_id, "many", 3)
        assert (await store.load(run_id)).owner == store.owner, "what has an answer cannot be given up"
        with anyio.fail_after(10):
            assert (await orch.attach(run_id).result()).output == 6


async def test_an_answer_counts_although_its_caller_was_cancelled_meanwhile(opened: Opened) -> None:
    async with waiting(opened) as (orch, store, run_id):
        with anyio.CancelScope() as scope:
            store.then = scope.cancel
            await orch.answer(run_id, "many", 3)
        assert scope.cancelled_caught
        with anyio.fail_after(10):
            assert (await orch.attach(run_id).result()).output == 6


async def test_a_run_left_in_between_can_be_cancelled(opened: Opened) -> None:
    async with waiting(opened) as (orch, store, run_id):
        orch._lookout.stays = False  # nobody goes on with it by itself
        await orch._lookout.stop()
        with anyio.CancelScope() as scope:
            store.then = scope.cancel
            await orch.answer(run_id, "many", 3)
        with anyio.fail_after(10):
            await orch.attach(run_id).cancel()
        log = await store.events(run_id)
        assert isinstance(log[-1], RunFinished)
        assert (await orch.runs())[0].status in ("cancelled", "succeeded")


class LosesReplies(MemoryStore):
    """Writes, and then fails."""

    is_instant = False
    loses = ""

    async def create(self, *args: Any, **named: Any) -> RunRow:
        row = await super().create(*args, **named)
        self._lose("create")
        return row

    async def claim(self, *args: Any, **named: Any) -> Claim:
        claim = await super().claim(*args, **named)
        self._lose("claim")
        return claim

    def _lose(self, what: str) -> None:
        if self.loses == what:
            self.loses = ""
            raise StoreError("the reply was lost")


async def test_a_run_whose_creation_was_not_answered_is_found_by_its_key() -> None:
    store = LosesReplies()
    store.loses = "create"

    async def seven() -> int:
        return 7

    wf: Workflow[int] = Workflow("seven")
    wf.returns(wf.add(seven))
    async with Orchestrator(store, recover=False) as orch:
        with pytest.raises(StoreError, match="reply was lost"):
            await orch.run(wf, idempotency_key="k")
        with anyio.fail_after(10):
            assert (await orch.run(wf, idempotency_key="k")).output == 7
        assert len(await orch.runs()) == 1


async def test_a_resume_that_was_not_answered_can_be_made_again() -> None:
    store = LosesReplies()
    broken = True

    async def seven() -> int:
        if broken:
            raise ValueError("not yet")
        return 7

    wf: Workflow[int] = Workflow("seven")
    wf.returns(wf.add(seven))
    async with Orchestrator(store, recover=False) as orch:
        run = await orch.run(wf)
        broken, store.loses = False, "claim"
        with pytest.raises(StoreError, match="reply was lost"):
            await orch.resume(run.id)
        with anyio.fail_after(10):
            assert (await (await orch.resume(run.id)).result()).output == 7


async def test_a_resume_that_was_cancelled_while_it_was_committed_counts(tmp_path: Path) -> None:
    store, broken, lock = SqliteStore(tmp_path / "runs.db"), True, ExitStack()
    queue, scope = store.append_soon, anyio.CancelScope()

    async def seven() -> int:
        if broken:
            raise ValueError("not yet")
        return 7

    def append_soon(*args: Any, **named: Any) -> Any:
        if named["status"] == "running" and not scope.cancel_called:
            lock.enter_context(locked(store.path))
            scope.cancel()
        return queue(*args, **named)

    async def unlock() -> None:
        await until(lambda: scope.cancel_called)
        await anyio.sleep(0.1)
        lock.close()

    wf: Workflow[int] = Workflow("seven")
    wf.returns(wf.add(seven))
    async with Orchestrator(store, recover=False) as orch:
        run = await orch.run(wf)
        broken, store.append_soon = False, append_soon  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(unlock)
            with scope:
                await orch.resume(run.id)
        assert isinstance((await store.events(run.id))[-1], RunResumed)
        assert (await orch.runs())[0].status == "interrupted"
        assert (await store.verify()).is_sound
        with anyio.fail_after(10):
            assert (await (await orch.resume(run.id)).result()).output == 7
        assert (await store.verify()).is_sound


async def test_what_could_not_be_deleted_is_deleted_the_next_time(opened: Opened) -> None:
    store = opened()

    async def seven() -> int:
        return 7

    wf: Workflow[int] = Workflow("seven")
    wf.returns(wf.add(seven))
    async with Orchestrator(store, recover=False) as orch:
        run_id = (await orch.run(wf)).id
        await store.post(run_id, InboxItem("late", "seven", 1, []))  # which keeps it from being given up
        really = store.delete_run

        async def delete_run(run_id: str) -> None:
            store.delete_run = really
            raise StoreError("on purpose")

        store.delete_run = delete_run
        with pytest.raises(StoreError, match="on purpose"):
            await orch.prune(workflow="seven")
        assert (await orch.prune(workflow="seven")).run_ids == (run_id,)
        assert await orch.runs() == []


# The claims themselves


async def left(store: MemoryStore, *, owner: str | None = None) -> RunRow:
    row = RunRow("r1", "w", "running", 1, owner, 0, 1_000)
    return await store.create(row, [], definition=None)


class Broken(MemoryStore):
    error: Exception = StoreError("on purpose")

    async def claim(self, *args: Any, **named: Any) -> Claim:
        raise self.error


async def test_a_claim_that_was_not_made_is_nobodys() -> None:
    store = Broken()
    row = await left(store)
    claims = Claims(store)
    with pytest.raises(StoreError):
        await claims.claim(row)
    assert await claims.idle() == []
    await MemoryStore.claim(store, "r1", "another")  # in that very epoch
    assert await claims.idle() == []


async def unanswered() -> tuple[LosesReplies, Claims]:
    """A claim that was made, whose reply was lost."""
    store = LosesReplies()
    row, claims = await left(store), Claims(store)
    store.loses = "claim"
    with pytest.raises(StoreError, match="reply was lost"):
        await claims.claim(row)
    return store, claims


async def test_what_another_took_from_us_is_not_taken_back() -> None:
    store, claims = await unanswered()
    assert [found.epoch for found in await claims.idle()] == [2]
    await store.claim("r1", "another", takeover=True)
    assert await claims.idle() == []
    with pytest.raises(ClaimLost, match="owned by another"):
        await claims.claim(await store.load("r1"))


async def test_only_one_of_ours_takes_what_nobody_is_at() -> None:
    store, claims = await unanswered()
    seen = await store.load("r1")
    assert (await claims.claim(seen)).epoch == 3
    with pytest.raises(ClaimLost):
        await claims.claim(seen)
    assert await claims.idle() == []


async def test_what_could_not_be_taken_for_now_stays_ours() -> None:
    store = Broken()
    claims = Claims(store)
    await left(store, owner=claims.owner)
    claims.add(Claim("r1", 1, 0))
    (row,) = await claims.idle()
    for error in (StoreBusy("busy"), StoreError("on purpose")):
        store.error = error
        with pytest.raises(StoreError):
            await claims.claim(row)
        assert await claims.idle() == [row]
    await store.delete_run("r1")
    assert await claims.idle() == []


async def test_what_is_left_while_others_are_looked_at_is_not_forgotten() -> None:
    store = MemoryStore()
    claims = Claims(store)
    row = await left(store)
    claims.add(Claim("r1", 0, 0))  # of a while ago

    async def load(run_id: str) -> RunRow:
        claims.add(await MemoryStore.claim(store, "r1", claims.owner))
        return row

    store.load = load  # type: ignore[method-assign]
    assert await claims.idle() == []
    del store.load  # type: ignore[method-assign]
    assert [found.id for found in await claims.idle()] == ["r1"]
