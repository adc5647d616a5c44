"""Pruning deletes what it is told to, and never a run that has not ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import Orchestrator, Run, RunHandle, RunNotFound, RunStarted
from llmorch._clock import now_us
from llmorch.ports import Claim, RunRow, RunStore
from llmorch.retention import ENDED, Pruned, prune
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

HOUR = 3_600_000_000


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[RunStore]:
    store = MemoryStore() if kind == "memory" else SqliteStore(folder / "runs.db", durability="process")
    try:
        yield store
    finally:
        await store.aclose()


async def put(
    store: RunStore, run_id: str, status: str = "succeeded", *, workflow: str = "tea", hours: float = 10
) -> None:
    """A run that ended so many hours ago, or that goes on in this status."""
    at = now_us() - int(hours * HOUR)
    is_open = status not in ENDED
    row = RunRow(
        run_id,
        workflow,
        status,
        epoch=1,
        owner=str(getattr(store, "owner", "here")) if status == "running" else None,
        last_seq=1,
        created_at=at - HOUR,
        finished_at=None if is_open else at,
    )
    await store.create(row, [RunStarted(workflow, run_id=run_id, seq=1)], definition=None)


async def ids(store: RunStore) -> list[str]:
    return sorted(row.id for row in await store.list_runs(limit=10_000))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunStore]:
    async with opened(request.param, tmp_path) as opened_store:
        yield opened_store


async def mixed(store: RunStore) -> None:
    await put(store, "a1", hours=100)
    await put(store, "a2", "failed", hours=90)
    await put(store, "a3", "cancelled", workflow="milk", hours=80)
    await put(store, "b1", "partial", hours=3)
    await put(store, "b2", "failed", workflow="milk", hours=2)
    await put(store, "b3", hours=1)
    await put(store, "c1", "running", hours=200)
    await put(store, "c2", "waiting", hours=200)


SELECTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"older_than": timedelta(hours=50)}, ["a1", "a2", "a3"]),
    ({"older_than": 50 * 3600}, ["a1", "a2", "a3"]),
    ({"older_than": timedelta(days=365)}, []),
    ({"older_than": 0}, ["a1", "a2", "a3", "b1", "b2", "b3"]),
    ({"status": "failed"}, ["a2", "b2"]),
    ({"status": ("partial", "cancelled")}, ["a3", "b1"]),
    ({"workflow": "milk"}, ["a3", "b2"]),
    ({"workflow": "nonesuch"}, []),
    ({"workflow": "milk", "status": "failed", "older_than": timedelta(hours=50)}, []),
    ({"workflow": "milk", "status": {"failed"}, "older_than": timedelta(hours=1.5)}, ["b2"]),
    ({"keep_latest": 0}, ["a1", "a2", "a3", "b1", "b2", "b3"]),
    ({"keep_latest": 1}, ["a1", "a2", "a3", "b1"]),
    ({"keep_latest": 2, "workflow": "tea"}, ["a1", "a2"]),
    ({"keep_latest": 1, "status": "failed"}, []),
    ({"keep_latest": 1, "older_than": timedelta(hours=95)}, ["a1"]),
]


@pytest.mark.parametrize(("given", "gone"), SELECTIONS, ids=[str(given) for given, _ in SELECTIONS])
async def test_runs_are_selected_by_all_that_is_given(store: RunStore, given: dict[str, Any], gone: list[str]) -> None:
    await mixed(store)
    everything = await ids(store)
    planned = await prune(store, **given, dry_run=True)
    assert sorted(planned.run_ids) == gone
    assert planned.is_dry
    assert await ids(store) == everything
    done = await prune(store, **given)
    assert (done.run_ids, done.by_status, done.by_workflow, done.kept) == (
        planned.run_ids,
        planned.by_status,
        planned.by_workflow,
        planned.kept,
    )
    assert not done.is_dry
    assert await ids(store) == [run_id for run_id in everything if run_id not in gone]


async def test_what_was_deleted_is_counted(store: RunStore) -> None:
    await mixed(store)
    done = await prune(store, older_than=timedelta(hours=50))
    assert done == Pruned(
        ("a3", "a2", "a1"), {"cancelled": 1, "failed": 1, "succeeded": 1}, {"milk": 1, "tea": 2}, kept=3
    )
    assert done.count == 3


async def test_the_age_is_counted_from_the_end_of_a_run(store: RunStore) -> None:
    await put(store, "long", hours=1)  # it began two hours ago
    assert (await prune(store, older_than=timedelta(minutes=90))).count == 0
    assert (await prune(store, older_than=timedelta(minutes=50))).run_ids == ("long",)


async def test_many_pages_are_pruned(store: RunStore) -> None:
    for number in range(450):
        await put(store, f"r{number:04}", "failed" if number % 3 else "succeeded")
    await put(store, "r9999", "running")
    done = await prune(store, status="failed", keep_latest=10)
    assert done.count == 290
    assert done.run_ids == tuple(sorted(done.run_ids, reverse=True))
    assert done.kept == 10
    assert len(await ids(store)) == 161


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "would delete every ended run"),
    ({"dry_run": True}, "would delete every ended run"),
    ({"status": "running"}, "'running' is not how a run ends"),
    ({"status": ("failed", "wating")}, "'wating' is not how a run ends"),
    ({"status": ()}, "an empty status is not how a run ends"),
    ({"older_than": -1}, "an age is 0 or more"),
    ({"older_than": float("nan")}, "an age is 0 or more"),
    ({"keep_latest": -1}, "a number of runs is 0 or more"),
]


@pytest.mark.parametrize(("given", "text"), BAD, ids=[str(given) for given, _ in BAD])
async def test_what_selects_nothing_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        await prune(MemoryStore(), **given)


class Meddled:
    """A store in which something happens between the list and the deletion, as another process would do it."""

    def __init__(self, store: RunStore, meddle: Any) -> None:
        self._store = store
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def list_runs(self, **filters: Any) -> Collection[RunRow]:
        rows = await self._store.list_runs(**filters)
        if rows:
            await self._meddle(self._store)
            self._meddle = nothing
        return rows


async def nothing(store: RunStore) -> None:
    """It happens once."""


async def test_a_run_that_is_taken_up_meanwhile_stays(store: RunStore) -> None:
    await mixed(store)

    async def resume(inner: RunStore) -> None:
        claim = await inner.claim("a2", str(getattr(inner, "owner", "other")))
        await inner.append(Claim("a2", claim.epoch, 1), [], status="running")

    done = await prune(Meddled(store, resume), older_than=timedelta(hours=50))  # type: ignore[arg-type]  # by getattr
    assert done.run_ids == ("a3", "a1")
    assert (await store.load("a2")).status == "running"


async def test_a_run_that_somebody_just_claimed_stays(store: RunStore) -> None:
    await mixed(store)

    async def claim(inner: RunStore) -> None:
        await inner.claim("a2", str(getattr(inner, "owner", "other")))

    done = await prune(Meddled(store, claim), older_than=timedelta(hours=50))  # type: ignore[arg-type]  # by getattr
    assert done.run_ids == ("a3", "a1")
    assert (await store.load("a2")).epoch == 2


async def test_a_run_that_waits_by_the_time_it_is_claimed_stays_and_is_let_go(store: RunStore) -> None:
    await mixed(store)

    class Late(Meddled):
        async def claim(self, run_id: str, owner: str) -> Claim:
            if run_id == "a2":
                claim = await store.claim(run_id, owner)
                await store.append(claim, [], status="running")
                await store.release(claim, status="waiting")
            return await store.claim(run_id, owner)

    done = await prune(Late(store, nothing), older_than=timedelta(hours=50))  # type: ignore[arg-type]  # by getattr
    assert done.run_ids == ("a3", "a1")
    row = await store.load("a2")
    assert (row.status, row.owner) == ("waiting", None)


async def test_a_run_that_is_deleted_meanwhile_is_not_counted(store: RunStore) -> None:
    await mixed(store)

    async def delete(inner: RunStore) -> None:
        await inner.delete_run("a2")

    done = await prune(Meddled(store, delete), older_than=timedelta(hours=50))  # type: ignore[arg-type]  # by getattr
    assert done.run_ids == ("a3", "a1")


async def test_a_run_whose_deletion_failed_may_be_claimed_again() -> None:
    store = MemoryStore()
    await put(store, "a1")

    class Failing(Meddled):
        async def delete_run(self, run_id: str) -> None:
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await prune(Failing(store, nothing), older_than=0)  # type: ignore[arg-type]  # by getattr
    row = await store.load("a1")
    assert (row.owner, row.status) == (None, "succeeded")
    assert (await store.claim("a1", "other")).epoch == 3


async def test_runs_that_go_on_are_not_disturbed(tmp_path: Path) -> None:
    go_on = anyio.Event()

    async def wait() -> str:
        await go_on.wait()
        return "done"

    async with opened("sqlite", tmp_path) as store, Orchestrator(store) as orchestrator:
        ended: list[Run[Any]] = [await orchestrator.run(lambda: "at once") for _ in range(5)]
        handle: RunHandle[str] = await orchestrator.start(wait)
        assert (await prune(store, older_than=0)).count == 5
        go_on.set()
        assert (await handle.result()).output == "done"
        for run in ended:
            with pytest.raises(RunNotFound):
                await store.load(run.id)
