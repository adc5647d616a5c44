"""Rules about runs as rows: idempotency keys, lists, definitions, and what is left when a run is deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

from ..errors import ClaimLost, IdempotencyConflict, RunNotFound
from ..event_totals import totals_of
from ..events import RunFinished
from ..models.usage import Usage
from ..ports import Claim, InboxItem, RunRow
from ._store_rule import Rule, StoreCase, at_once, fault_in_row, note, refused, started
from ._suite import broken, name_of, skipped

__all__ = ["RULES"]

_CONTENDERS = 8
_MISSING = "0" * 26
_DEFINITION: dict[str, Any] = {"name": "tea", "z": [1, {"b": 2.5, "a": 2**70}], "a": None}


async def _put(case: StoreCase, **about: Any) -> RunRow:  # Any: fields of a row
    row = case.row(**about)
    definition = _DEFINITION if row.definition_sha else None
    return await case.store.create(row, [started(row)], definition=definition)


async def _not_found(case: StoreCase) -> None:
    await case.run()
    store, no_run = case.store, (RunNotFound,)
    await refused(store.load(_MISSING), "load() of a run that is not there", kinds=no_run)
    await refused(store.events(_MISSING), "events() of a run that is not there", kinds=no_run)
    await refused(store.delete_run(_MISSING), "delete_run() of a run that is not there", kinds=no_run)
    await refused(store.claim(_MISSING, "owner-2"), "claim() of a run that is not there", kinds=no_run)
    await refused(store.post(_MISSING, InboxItem("wake")), "post() for a run that is not there", kinds=no_run)
    claim = Claim(_MISSING, 1, 1)
    asked = store.append(claim, [note(claim)])
    await refused(asked, "append() to a run that is not there", kinds=(RunNotFound, ClaimLost))


async def _idempotent(case: StoreCase) -> None:
    about = {"idempotency_key": "key 'é'", "inputs_sha": "aa"}
    first = await _put(case, **about)
    claim = Claim(first.id, 1, 1)
    await case.store.append(claim, [note(claim)], status="waiting")
    now = await case.store.load(first.id)
    second = case.row(**about)
    again = await case.store.create(second, [started(second)], definition=None)
    fault = fault_in_row(again, now)
    if fault:
        broken(f"a key used again with the same workflow and inputs did not give the existing run as it is: {fault}")
    await refused(case.store.load(second.id), "load() of the run that the key made needless", kinds=(RunNotFound,))
    for what, other in {"other inputs": {"inputs_sha": "bb"}, "another workflow": {"workflow": "coffee"}}.items():
        row = case.row(**{**about, **other})
        asked = case.store.create(row, [started(row)], definition=None)
        await refused(asked, f"a key used again with {what}", kinds=(IdempotencyConflict,))
        await refused(case.store.load(row.id), "load() of the run that was refused", kinds=(RunNotFound,))
    await _put(case, inputs_sha="aa")
    await _put(case, inputs_sha="aa")  # no key: nothing is shared
    found = len(await case.store.list_runs())
    if found != 3:
        broken(f"{found} runs are listed, not 3, after one with a key, three more of that key and two without")


async def _idempotent_at_once(case: StoreCase) -> None:
    rows = [case.row(idempotency_key="key", inputs_sha="aa") for _ in range(_CONTENDERS)]
    ends = await at_once([partial(case.store.create, row, [started(row)], definition=None) for row in rows])
    odd = next((end for end in ends if isinstance(end, Exception)), None)
    if odd is not None:
        broken(f"of {_CONTENDERS} runs of one key at once, one met {name_of(odd)}")
    ids = {end.id for end in ends if isinstance(end, RunRow)}
    listed = [row.id for row in await case.store.list_runs()]
    if len(ids) != 1 or listed != list(ids):
        broken(f"{_CONTENDERS} runs of one key at once gave {len(ids)} ids and {len(listed)} runs, not 1 and 1")


async def _totals(case: StoreCase) -> None:
    claim = await case.run()
    about: dict[str, Any] = {"run_id": claim.run_id, "seq": 2}  # Any: fields of an event
    first = RunFinished("failed", None, Usage(3, 1, 1, 0, 0, 2), Decimal("123456789.000000001"), **about)
    await case.store.append(replace(claim), [first], status="failed")
    kept = (await case.store.load(claim.run_id)).totals
    if not kept:
        skipped("it keeps no totals")
    if dict(kept) != totals_of([first]):
        broken(f"the row of a run that ended has totals {kept!r}, not {totals_of([first])!r}")
    again = await case.store.claim(claim.run_id, "owner-2")
    await case.store.append(replace(again), [note(again)], status="running")
    if (await case.store.load(claim.run_id)).totals != kept:
        broken("the totals of a run that goes on are not those of its last end")
    last = replace(first, status="succeeded", usage=Usage(5, 2, requests=3), cost=None, seq=4)
    await case.store.append(replace(again, last_seq=3), [last], status="succeeded")
    for row in (await case.store.load(claim.run_id), *await case.store.list_runs()):
        if dict(row.totals) != totals_of([last]):
            broken(f"the row of a run that ended again has totals {row.totals!r}, not {totals_of([last])!r}")


async def _listed(case: StoreCase) -> None:
    base = case.row().created_at - 10_000_000
    about: list[dict[str, Any]] = [  # Any: fields of a row
        {"workflow": "coffee", "tags": ("x",)},
        {"tags": ("xy", "a_b")},
        {"tags": ("x", "axb")},
        {"workflow": "Coffee", "tags": ('q"uo,te', "ü")},
        {},
    ]
    made = [await _put(case, created_at=base + at * 1_000, **one) for at, one in enumerate(about)]
    claim = Claim(made[4].id, 1, 1)
    await case.store.append(claim, [note(claim)], status="failed")
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [4, 3, 2, 1, 0]),
        ({"workflow": "coffee"}, [0]),
        ({"workflow": "cof%"}, []),
        ({"status": "failed"}, [4]),
        ({"status": "running"}, [3, 2, 1, 0]),
        ({"tag": "x"}, [2, 0]),
        ({"tag": "a_b"}, [1]),
        ({"tag": 'q"uo,te'}, [3]),
        ({"tag": "ü"}, [3]),
        ({"tag": "nobody's"}, []),
        ({"since": base + 2_000}, [4, 3, 2]),
        ({"since": base + 2_001}, [4, 3]),
        ({"limit": 2}, [4, 3]),
        ({"before": made[3].id}, [2, 1, 0]),
        ({"before": made[3].id, "limit": 2}, [2, 1]),
        ({"before": made[0].id}, []),
        ({"before": made[2].id, "tag": "x"}, [0]),
        ({"tag": "x", "workflow": "tea", "status": "running", "since": base}, [2]),
    ]
    places = {row.id: place for place, row in enumerate(made)}
    for asked, expected in wanted:
        found = [places[row.id] for row in await case.store.list_runs(**asked)]
        if found != expected:
            shown = ", ".join(f"{name}={value!r}" for name, value in asked.items())
            broken(f"of runs 0 to 4, list_runs({shown}) gave {found}, not {expected}")
    for row in await case.store.list_runs(status="running"):
        fault = fault_in_row(row, made[places[row.id]])
        if fault:
            broken(f"list_runs() gave a row in which {fault}")


async def _fifty(case: StoreCase) -> None:
    made = [(await case.run()).run_id for _ in range(53)]
    first = [row.id for row in await case.store.list_runs()]
    if first != made[:2:-1]:
        broken(f"list_runs() of 53 gave {len(first)} runs; it must give the newest 50, newest first")
    rest = [row.id for row in await case.store.list_runs(before=first[-1])]
    if rest != made[2::-1]:
        broken(f"list_runs(before=the 50th) of 53 gave {len(rest)} runs; it must give the other 3, newest first")


async def _definitions(case: StoreCase) -> None:
    sha, other = "ab" * 32, "cd" * 32
    if await case.store.definition(sha) is not None:
        broken("an empty store has a definition")
    first = await _put(case, definition_sha=sha)
    for row in (case.row(definition_sha=sha), case.row(definition_sha=other)):
        await case.store.create(row, [started(row)], definition=None)
    await _has_definition(case, sha, "two runs were made of it")
    if await case.store.definition(other) is not None:
        broken("definition() gave something for a sha that nobody gave a definition for")
    await case.store.delete_run(first.id)
    await _has_definition(case, sha, "one of the two runs made of it was deleted")


async def _has_definition(case: StoreCase, sha: str, when: str) -> None:
    found = await case.store.definition(sha)
    if found is None or dict(found) != _DEFINITION or list(found) != list(_DEFINITION):
        broken(f"when {when}, definition() gave {found!r}, not {_DEFINITION!r}")


async def _deleted(case: StoreCase) -> None:
    gone = await _put(case, idempotency_key="key", inputs_sha="aa", tags=("x",), status="waiting")
    kept = await case.run(tags=("x",))
    item = InboxItem("answer", "ask", 0, "yes", 5)
    for run_id in (gone.id, kept.run_id):
        await case.store.post(run_id, item)
    await case.store.release(Claim(gone.id, 1, 1), status="waiting")
    await case.store.delete_run(gone.id)
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "load()": partial(case.store.load, gone.id),
        "events()": partial(case.store.events, gone.id),
        "post()": partial(case.store.post, gone.id, replace(item, step="other")),
        "claim()": partial(case.store.claim, gone.id, "owner-2"),
        "a second delete_run()": partial(case.store.delete_run, gone.id),
    }
    for what, ask in asks.items():
        await refused(ask(), f"{what} of a deleted run", kinds=(RunNotFound,))
    claim = Claim(gone.id, 1, 1)
    asked = case.store.append(claim, [note(claim)])
    await refused(asked, "append() to a deleted run", kinds=(ClaimLost, RunNotFound))
    listed = [row.id for row in (*await case.store.list_runs(tag="x"), *await case.store.recoverable(now=2**52))]
    if listed != [kept.run_id]:
        broken(f"list_runs() and recoverable() give {len(listed)} runs, not only the one that was not deleted")
    if list(await case.store.inbox(kept.run_id)) != [item] or len(await case.log(kept.run_id)) != 1:
        broken("deleting a run took the inbox or the events of another")
    again = await _put(case, idempotency_key="key", inputs_sha="bb")
    if again.id == gone.id:
        broken("the idempotency key of a deleted run still gives that run")


RULES = (
    Rule(
        "not-found",
        "What is asked of a run that is not there raises RunNotFound.",
        "Look the row up first; append() may raise ClaimLost instead.",
        _not_found,
    ),
    Rule(
        "idempotent",
        "A key used again gives the existing run for the same workflow and inputs, else IdempotencyConflict.",
        "Compare workflow and inputs_sha with the row of that key; put nothing when there is one.",
        _idempotent,
    ),
    Rule(
        "idempotent-at-once",
        "Of runs created with one key at once, exactly one is made, and all get its row.",
        "Let a unique index decide, and read the row that won.",
        _idempotent_at_once,
    ),
    Rule(
        "totals",
        "The totals of a run that ended are those of its last event, if the store keeps them.",
        "With a unit that gives a status, set totals to llmorch.event_totals.totals_of(events), unless that is empty.",
        _totals,
    ),
    Rule(
        "listed",
        "list_runs() gives rows newest first, and of them those that fit every filter exactly.",
        "Compare whole values, never patterns; since is created_at >= since, before goes on after that run.",
        _listed,
    ),
    Rule(
        "list-pages",
        "list_runs() gives 50 rows unless asked otherwise, and goes on with before.",
        "ORDER BY the run's id (or its number), descending, LIMIT ?.",
        _fifty,
    ),
    Rule(
        "definitions",
        "A definition given once is there for its sha as long as a run of it is.",
        "Keep it by sha once; None given with a known sha changes nothing.",
        _definitions,
    ),
    Rule(
        "deleted",
        "A deleted run is gone with its events, inbox and idempotency key, and no other run is touched.",
        "Delete in one transaction, with ON DELETE CASCADE or by hand.",
        _deleted,
    ),
)
