"""A call whose reply was lost can be made again, or was made for good: each method of the port in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import RunStarted, StoreError, Warned
from llmorch._clock import now_us
from llmorch.errors import AlreadyAnswered, ClaimLost, RunNotFound
from llmorch.ports import Claim, InboxItem, RunRow, RunStore
from llmorch.runid import new_run_id
from tests.durability.faults_scenario import Ground, Kind
from tests.durability.faults_store import METHODS, Disturbance, faulty

pytestmark = pytest.mark.anyio
ITEM = InboxItem("wake", "", 0, None, 5, "Ada")


@dataclass
class Case:
    """A store with one run that "owner" carries out, and another that nobody has."""

    claim: Claim
    row: RunRow
    free: str


def first(row: RunRow) -> list[Any]:
    return [RunStarted(row.workflow, run_id=row.id, at_us=row.created_at, seq=1)]


def note(claim: Claim) -> list[Any]:
    return [Warned(None, "note", "x", run_id=claim.run_id, at_us=9, seq=claim.last_seq + 1)]


def plain(owner: str | None) -> RunRow:
    return RunRow(new_run_id(), "tea", "running", 1, owner, 1, now_us())


# Each method: what is asked, and what asking it again may raise, as the first time was for good.
ASKS: dict[str, tuple[Callable[[RunStore, Case], Awaitable[Any]], type[Exception] | None]] = {
    "append": (lambda store, case: store.append(replace(case.claim), note(case.claim)), None),
    "claim": (lambda store, case: store.claim(case.free, owner_of(store)), ClaimLost),
    "create": (lambda store, case: store.create(case.row, first(case.row), definition=None), None),
    "definition": (lambda store, case: store.definition("sha"), None),
    "delete_run": (lambda store, case: store.delete_run(case.free), RunNotFound),
    "events": (lambda store, case: store.events(case.free), None),
    "inbox": (lambda store, case: store.inbox(case.claim.run_id), None),
    "list_runs": (lambda store, case: store.list_runs(), None),
    "load": (lambda store, case: store.load(case.claim.run_id), None),
    "post": (lambda store, case: store.post(case.claim.run_id, ITEM), AlreadyAnswered),
    "recoverable": (lambda store, case: store.recoverable(now=now_us()), None),
    "release": (lambda store, case: store.release(replace(case.claim), status="waiting"), None),
    "renew": (lambda store, case: store.renew(replace(case.claim)), None),
    "revision": (lambda store, case: store.revision(), None),  # type: ignore[attr-defined]  # a store may leave it out
}


def owner_of(store: RunStore) -> str:
    return str(getattr(store, "owner", "owner"))


async def prepared(store: RunStore) -> Case:
    owned, free = plain(owner_of(store)), plain(None)
    for row in (owned, free):
        await store.create(row, first(row), definition=None)
    return Case(Claim(owned.id, 1, 1), plain(owner_of(store)), free.id)


async def data_of(store: RunStore, case: Case) -> dict[str, Any]:
    """Everything a store shows, with the ids of this case's runs as their parts in it."""
    names = {case.claim.run_id: "owned", case.free: "free", case.row.id: "new"}
    data: dict[str, Any] = {}
    for row in await store.list_runs():
        log = [(type(event).__name__, event.seq) for event in await store.events(row.id)]
        left = [(item.kind, item.step) for item in await store.inbox(row.id)]
        data[names[row.id]] = (row.status, row.epoch, row.owner is not None, row.last_seq, log, left)
    return data


def test_every_method_of_the_port_has_its_line_here() -> None:
    assert set(METHODS) - {"aclose"} <= set(ASKS), "a new method of the port needs a line in ASKS"


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("method", ASKS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_call_made_again_leaves_what_one_call_leaves(
    kind: Kind, method: str, mode: Any, tmp_path: Path
) -> None:
    ask, again = ASKS[method]
    wanted: dict[str, Any] = {}
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        store = Ground(kind, tmp_path / name).store()
        if not hasattr(store, method):
            pytest.skip(f"{type(store).__name__} has no {method}()")
        with anyio.fail_after(20):
            case = await prepared(store)
            if name == "twice":
                with pytest.raises(StoreError, match="on purpose"):
                    await ask(faulty(store, Disturbance(mode, method)), case)
            if name == "twice" and mode == "after" and again is not None:
                with pytest.raises(again):
                    await ask(store, case)
            else:
                await ask(store, case)
            found = await data_of(store, case)
            await store.aclose()
        if name == "once":
            wanted = found
    assert found == wanted
