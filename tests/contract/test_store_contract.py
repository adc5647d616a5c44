"""Every run store of this package keeps every rule of the suite; and what is the memory store's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmorch import ClaimLost, RunNotFound, RunStarted, Warned
from llmorch.ports import Claim, RunRow
from llmorch.stores.memory import MemoryStore
from llmorch.testing import check_run_store

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


def test_the_memory_store_keeps_every_rule() -> None:
    report = check_run_store(MemoryStore)
    skipped = dict(report.skipped)
    assert skipped.pop("revision").startswith("it has no revision()")
    assert skipped.pop("soon").startswith("it has no append_soon()")
    assert set(skipped.values()) == {"no reopen= was given"}
    assert len(report.passed) >= 32


async def test_what_refuses_names_the_run_and_what_to_do() -> None:
    store = MemoryStore()
    await made(store)
    with pytest.raises(ClaimLost, match="owned by here; cancel it there first, or take it over") as caught:
        await store.claim("r1", "other")
    assert caught.value.run_id == "r1"
    second = await store.claim("r1", "other", takeover=True)
    with pytest.raises(ClaimLost, match=r"owned by other now \(epoch 2, not 1\); attach to it to watch it") as caught:
        await store.append(Claim("r1", 1, 1), [note("r1", 2)])
    assert caught.value.run_id == "r1"
    with pytest.raises(ClaimLost, match="events 3 to 3 do not follow event 1 without a gap"):
        await store.append(second, [note("r1", 3)])
    with pytest.raises(RunNotFound, match="no run 'r2' in memory"):
        await store.load("r2")


async def test_a_unit_given_again_after_its_reply_was_lost_is_answered_as_before() -> None:
    store = MemoryStore()
    await made(store)
    unit = [note("r1", 2), note("r1", 3)]
    first = await store.append(Claim("r1", 1, 1), unit)
    assert await store.append(Claim("r1", 1, 1), unit) == first
    with pytest.raises(ClaimLost):
        await store.append(Claim("r1", 1, 1), [replace(note("r1", 2), text="another"), note("r1", 3)])
    await store.append(Claim("r1", 1, 3), [note("r1", 4)])
    with pytest.raises(ClaimLost):
        await store.append(Claim("r1", 1, 1), unit)
    assert [event.seq for event in await store.events("r1")] == [1, 2, 3, 4]


async def test_a_run_created_again_after_its_reply_was_lost_is_the_same_run() -> None:
    store = MemoryStore()
    await made(store)
    await store.append(Claim("r1", 1, 1), [note("r1", 2)])
    assert (await made(store)).last_seq == 2
    assert len(await store.events("r1")) == 2


async def test_a_run_that_goes_on_after_its_end_is_no_finished_run_any_more() -> None:
    store = MemoryStore(keep=1)
    await made(store, "a")
    await store.append(Claim("a", 1, 1), [note("a", 2)], status="failed")
    assert (await store.load("a")).owner is None  # whoever ended it does not have it any more
    claim = await store.claim("a", "other")
    await store.append(claim, [note("a", 3)], status="running")
    assert (await store.load("a")).finished_at is None
    await made(store, "b")
    await store.append(Claim("b", 1, 1), [note("b", 2)], status="succeeded")
    assert [found.id for found in await store.list_runs()] == ["b", "a"]


async def test_a_definition_goes_with_the_last_run_made_of_it() -> None:
    store = MemoryStore(keep=1)
    for name in ("a", "b"):
        await store.create(row(name, definition_sha="d"), [started(name)], definition={"name": "w"})
    await store.append(Claim("a", 1, 1), [note("a", 2)], status="failed")
    await store.append(Claim("b", 1, 1), [note("b", 2)], status="failed")
    assert await store.definition("d") == {"name": "w"}
    await store.delete_run("b")
    assert await store.definition("d") is None


async def test_the_latest_finished_runs_are_kept_and_running_ones_always() -> None:
    store = MemoryStore(keep=3)
    await made(store, "alive")
    for name in ("a", "b", "c", "d", "e"):
        await made(store, name, idempotency_key=name)
        await store.append(Claim(name, 1, 1), [note(name, 2)], status="succeeded")
    assert [found.id for found in await store.list_runs()] == ["e", "d", "c", "alive"]
    assert (await made(store, "again", idempotency_key="a")).id == "again"  # its key is forgotten with it
    assert MemoryStore().keep == 1_000
