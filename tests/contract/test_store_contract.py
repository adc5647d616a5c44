"""What every run store does, shown on the memory store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmorch import ClaimLost, IdempotencyConflict, RunNotFound, RunStarted, Warned
from llmorch.ports import Claim, RunRow
from llmorch.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio


def row(run_id: str, **about: object) -> RunRow:
    base = RunRow(run_id, "w", "running", 1, "here", 1, 1_000)
    return replace(base, **about)  # type: ignore[arg-type]


def started(run_id: str) -> RunStarted:
    return RunStarted("w", run_id=run_id, seq=1)


def note(run_id: str, seq: int) -> Warned:
    return Warned(None, "truncated", f"{seq}", run_id=run_id, seq=seq)


async def made(store: MemoryStore, run_id: str = "r1", **about: object) -> RunRow:
    return await store.create(row(run_id, **about), [started(run_id)], definition=None)


async def test_a_run_is_there_with_its_first_events() -> None:
    store = MemoryStore()
    assert (await made(store)).id == "r1"
    assert (await store.load("r1")).last_seq == 1
    assert [event.seq for event in await store.events("r1")] == [1]


@pytest.mark.parametrize("method", ["load", "events", "delete_run"])
async def test_what_is_not_there_is_not_found(method: str) -> None:
    with pytest.raises(RunNotFound, match="nonesuch"):
        await getattr(MemoryStore(), method)("nonesuch")
    with pytest.raises(RunNotFound):
        await MemoryStore().claim("nonesuch", "me")
    with pytest.raises(RunNotFound):
        await MemoryStore().append(Claim("nonesuch", 1, 1), [note("nonesuch", 2)])


async def test_a_key_used_before_with_the_same_gives_the_same_run() -> None:
    store = MemoryStore()
    await made(store, idempotency_key="k", inputs_sha="a")
    again = await made(store, "r2", idempotency_key="k", inputs_sha="a")
    assert again.id == "r1"
    with pytest.raises(RunNotFound):
        await store.load("r2")
    for other in ({"inputs_sha": "b"}, {"inputs_sha": "a", "workflow": "v"}):
        with pytest.raises(IdempotencyConflict) as caught:
            await made(store, "r3", idempotency_key="k", **other)
        assert caught.value.run_id == "r1"
    await store.delete_run("r1")
    assert (await made(store, "r4", idempotency_key="k", inputs_sha="b")).id == "r4"


async def test_units_follow_each_other_without_a_gap() -> None:
    store = MemoryStore()
    await made(store)
    assert (await store.append(Claim("r1", 1, 1), [note("r1", 2), note("r1", 3)])).last_seq == 3
    assert (await store.append(Claim("r1", 1, 3), [note("r1", 4)])).last_seq == 4
    assert [event.seq for event in await store.events("r1")] == [1, 2, 3, 4]


@pytest.mark.parametrize("claim", [Claim("r1", 2, 1), Claim("r1", 0, 1), Claim("r1", 1, 0), Claim("r1", 1, 2)])
async def test_a_wrong_epoch_or_seq_writes_nothing(claim: Claim) -> None:
    store = MemoryStore()
    await made(store)
    with pytest.raises(ClaimLost) as caught:
        await store.append(claim, [note("r1", 2)], status="failed")
    assert caught.value.run_id == "r1"
    assert len(await store.events("r1")) == 1
    assert (await store.load("r1")).status == "running"


async def test_a_unit_that_does_not_follow_its_claim_is_refused() -> None:
    store = MemoryStore()
    await made(store)
    with pytest.raises((ClaimLost, ValueError)):
        await store.append(Claim("r1", 1, 1), [note("r1", 3)])
    assert len(await store.events("r1")) == 1


async def test_events_come_in_pages() -> None:
    store = MemoryStore()
    await made(store)
    await store.append(Claim("r1", 1, 1), [note("r1", seq) for seq in range(2, 12)])
    assert [event.seq for event in await store.events("r1", after=3, limit=4)] == [4, 5, 6, 7]
    assert [event.seq for event in await store.events("r1", after=9)] == [10, 11]
    assert list(await store.events("r1", after=11)) == []
    assert list(await store.events("r1", after=99)) == []


async def test_what_is_read_is_not_what_is_kept() -> None:
    store = MemoryStore()
    await made(store)
    page = await store.events("r1")
    if isinstance(page, list):
        page.clear()
    assert len(await store.events("r1")) == 1


async def test_rows_are_listed_newest_first_and_filtered() -> None:
    store = MemoryStore()
    await made(store, "a", workflow="v", created_at=10, tags=("x",))
    await made(store, "b", created_at=20)
    await made(store, "c", created_at=30, tags=("x", "y"))
    await store.append(Claim("c", 1, 1), [note("c", 2)], status="failed")

    async def ids(**filters: object) -> list[str]:
        return [found.id for found in await store.list_runs(**filters)]  # type: ignore[arg-type]

    assert await ids() == ["c", "b", "a"]
    assert await ids(workflow="v") == ["a"]
    assert await ids(status="failed") == ["c"]
    assert await ids(tag="x") == ["c", "a"]
    assert await ids(tag="x", status="running") == ["a"]
    assert await ids(since=20) == ["c", "b"]
    assert await ids(limit=1) == ["c"]
    assert await ids(before="c") == ["b", "a"]
    assert await ids(before="b", limit=1) == ["a"]


async def test_a_claim_counts_the_epoch_and_ends_the_former() -> None:
    store = MemoryStore()
    await made(store)
    first = Claim("r1", 1, 1)
    with pytest.raises(ClaimLost):
        await store.claim("r1", "other")
    await store.renew(first)
    await store.release(first, status="waiting")
    row = await store.load("r1")
    assert (row.owner, row.status) == (None, "waiting")
    second = await store.claim("r1", "other")
    assert (second.epoch, second.last_seq) == (2, 1)
    for lost in (store.renew(first), store.release(first, status="waiting"), store.append(first, [note("r1", 2)])):
        with pytest.raises(ClaimLost):
            await lost
    assert (await store.append(second, [note("r1", 2)])).last_seq == 2


async def test_an_ended_run_has_its_time() -> None:
    store = MemoryStore()
    await made(store)
    assert (await store.load("r1")).finished_at is None
    await store.append(Claim("r1", 1, 1), [note("r1", 2)], status="partial")
    assert (await store.load("r1")).finished_at is not None


async def test_the_latest_finished_runs_are_kept_and_running_ones_always() -> None:
    store = MemoryStore(keep=3)
    await made(store, "alive")
    for name in ("a", "b", "c", "d", "e"):
        await made(store, name, idempotency_key=name)
        await store.append(Claim(name, 1, 1), [note(name, 2)], status="succeeded")
    assert [found.id for found in await store.list_runs()] == ["e", "d", "c", "alive"]
    assert (await made(store, "again", idempotency_key="a")).id == "again"  # its key is forgotten with it
    assert MemoryStore().keep == 1_000
