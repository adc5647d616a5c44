"""Rules about a run's log: what is created and appended is there, whole, in order and unchanged."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, cast

import anyio

from ..errors import ClaimLost, LLMOrchError
from ..events import CallFinished, Event, StepSucceeded, Warned
from ..ports import AppendReply, Claim, InboxItem, RunRow
from ._store_rule import Rule, StoreCase, at_once, fault_in_events, fault_in_row, note, notes, one_winner, refused
from ._store_rule import started as _started
from ._store_samples import TEXT, every_event
from ._suite import Broken, broken, name_of, skipped

__all__ = ["RULES", "RULES_BEFORE"]

_METHODS = (
    "create", "append", "load", "events", "list_runs", "delete_run", "claim", "renew", "release", "post", "inbox",
    "definition", "recoverable", "aclose",
)  # fmt: skip
_DELAYS_S = (0.0, 0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03)
_CONTENDERS = 8
_RUNS = 12


async def _made(case: StoreCase) -> None:
    missing = [name for name in _METHODS if not callable(getattr(case.raw, name, None))]
    if missing:
        broken(f"the factory gave {type(case.raw).__name__}, which has no {', '.join(missing)}")


async def _created(case: StoreCase) -> None:
    plain = case.row()
    full = case.row(
        workflow=f"tea {TEXT[:8]} 'x'; --",
        idempotency_key="key-1",
        definition_sha="ab" * 32,
        inputs_sha="cd" * 32,
        tags=("one", 'Zwei, "drei"', "a_b%"),
        last_seq=2,
    )
    for row in (plain, full):
        first: list[Event] = [_started(row)]
        if row is full:
            first.append(note(row, seq=2))
        given = await case.store.create(row, first, definition={"name": "tea"} if row is full else None)
        for what, found in (("create() gave", given), ("load() gave", await case.store.load(row.id))):
            fault = fault_in_row(found, row)
            if fault:
                broken(f"{what} a row that is not the one put: {fault}")
        fault = fault_in_events(await case.log(row.id), first)
        if fault:
            broken(f"of the first events, {fault}")


async def _units(case: StoreCase) -> None:
    claim = await case.run()
    wanted = list(await case.log(claim.run_id))
    for count in (1, 2, 30):
        unit = notes(claim, count)
        reply = cast("object", await case.store.append(replace(claim), unit))
        wanted += unit
        claim.last_seq += count
        if not isinstance(reply, AppendReply) or reply.last_seq != claim.last_seq or reply.inbox is not False:
            broken(f"append() answered {reply!r} after event {claim.last_seq} of a run with an empty inbox")
        row = await case.store.load(claim.run_id)
        if (row.last_seq, row.status) != (claim.last_seq, "running"):
            broken(f"after event {claim.last_seq}, the row says last_seq={row.last_seq} and status={row.status!r}")
    fault = fault_in_events(await case.log(claim.run_id), wanted)
    if fault:
        broken(fault)


async def _status(case: StoreCase) -> None:
    claim = await case.run()
    for status, wake_at in (("waiting", 2**52), ("waiting", None), ("running", None), ("succeeded", None)):
        if (await case.store.load(claim.run_id)).finished_at is not None:
            broken("a run that has not ended has a finished_at")
        await case.store.append(replace(claim), notes(claim, 1), status=status, wake_at=wake_at)
        claim.last_seq += 1
        row = await case.store.load(claim.run_id)
        if (row.status, row.wake_at) != (status, wake_at):
            broken(f"after status={status!r}, wake_at={wake_at}, the row says {row.status!r}, {row.wake_at}")
    if row.finished_at is None:
        broken("a run that ended has no finished_at")
    await case.store.append(replace(claim), notes(claim, 1))
    if (await case.store.load(claim.run_id)).status != "succeeded":
        broken("a unit without a status changed the status")


async def _gaps(case: StoreCase) -> None:
    claim = await case.run()
    before = await case.store.load(claim.run_id)
    for seqs in ((3,), (1,), (2, 4), (3, 2), (2, 2)):
        unit = [note(claim, seq=seq) for seq in seqs]
        what = f"a unit of events {', '.join(map(str, seqs))} after event 1"
        asked = case.store.append(replace(claim), unit, status="failed", wake_at=5)
        await refused(asked, what, kinds=(ClaimLost, LLMOrchError, ValueError))
        await case.unchanged(before, what)


async def _guarded(case: StoreCase) -> None:
    claim = await case.run()
    await case.store.append(replace(claim), notes(claim, 2))
    item = InboxItem("answer", "ask", 0, "yes", 5, "Ada")
    await case.store.post(claim.run_id, item)
    before = await case.store.load(claim.run_id)
    for epoch, last in ((2, 3), (0, 3), (1, 2), (1, 4), (2, 4)):
        wrong = Claim(claim.run_id, epoch, last)
        what = f"a unit of epoch {epoch} after event {last}, where the run is at epoch 1 and event 3,"
        unit = [note(wrong, text="of another owner")]
        asked = case.store.append(wrong, unit, status="failed", consumed=[item], wake_at=5)
        await refused(asked, what)
        await case.unchanged(before, what)
        if list(await case.store.inbox(claim.run_id)) != [item]:
            broken(f"{what} was refused, but what it consumed is gone from the inbox")


async def _again(case: StoreCase) -> None:
    claim = await case.run()
    unit: list[Event] = [
        CallFinished("draft", 1, run_id=claim.run_id, seq=2),
        StepSucceeded("draft", "Tea.", run_id=claim.run_id, seq=3),
    ]
    for time in ("once", "twice"):
        try:
            reply = await case.store.append(replace(claim), unit, status="waiting")
        except ClaimLost:
            if time == "once":
                raise
        else:
            if (reply.last_seq, reply.inbox) != (3, False):
                broken(f"append() answered {reply!r} when a unit of events 2 and 3 was given {time}")
    row = await case.store.load(claim.run_id)
    if row.last_seq != 3 or len(await case.log(claim.run_id)) != 3 or await case.store.inbox(claim.run_id):
        broken(
            f"after a unit was given twice, the log or the inbox holds it twice; the row's last_seq is {row.last_seq}"
        )


async def _paging(case: StoreCase) -> None:
    claim = await case.run()
    unit = notes(claim, 619)
    for start in range(0, 619, 200):
        part = unit[start : start + 200]
        await case.store.append(Claim(claim.run_id, 1, start + 1), part)
    pages: dict[str, tuple[dict[str, int], range]] = {
        "events() without a limit": ({}, range(1, 501)),
        "events(after=500)": ({"after": 500}, range(501, 621)),
        "events(after=3, limit=4)": ({"after": 3, "limit": 4}, range(4, 8)),
        "events(after=619, limit=10)": ({"after": 619, "limit": 10}, range(620, 621)),
        "events(after=620)": ({"after": 620}, range(0)),
        "events(after=9999)": ({"after": 9999}, range(0)),
    }
    for what, (asked, wanted) in pages.items():
        seqs = [event.seq for event in await case.store.events(claim.run_id, **asked)]
        if seqs != list(wanted):
            broken(f"{what} of 620 gave {len(seqs)} events, seq {seqs[:3]}... to {seqs[-1:]}, not {wanted}")


async def _equal(case: StoreCase) -> None:
    claim = await case.run()
    unit = every_event()
    for place, event in enumerate(unit):
        event.run_id, event.seq, event.at_us = claim.run_id, place + 2, 1_700_000_000_123_456 + place
    await case.store.append(replace(claim), unit)
    fault = fault_in_events((await case.log(claim.run_id))[1:], unit)
    if fault:
        broken(fault)


async def _halves(case: StoreCase) -> None:
    claim = await case.run()
    before = await case.store.load(claim.run_id)
    unit: list[Event] = [note(claim, text="fine"), note(claim, seq=3, text="half \ud83d of a pair"), note(claim, seq=4)]
    try:
        await case.store.append(replace(claim), unit)
    except Broken:
        raise
    except (LLMOrchError, ValueError):
        await case.unchanged(before, "a unit with half a surrogate pair was refused")
        return
    fault = fault_in_events((await case.log(claim.run_id))[1:], unit)
    if fault:
        broken(f"of a unit with half a surrogate pair, {fault}")


async def _big(case: StoreCase) -> None:
    claim = await case.run()
    unit: list[Event] = [note(claim, seq=seq, text=f"{seq:04d}é😀\n" * 512) for seq in range(2, 258)]
    await case.store.append(replace(claim), unit)
    found = [
        event for after in range(1, 257, 100) for event in await case.store.events(claim.run_id, after=after, limit=100)
    ]
    fault = fault_in_events(found, unit)
    if fault:
        broken(f"of a unit of 256 events of 4 KB, {fault}")


async def _contenders(case: StoreCase) -> None:
    claim = await case.run()
    units = [[note(claim, text=f"unit {place}"), note(claim, seq=3)] for place in range(_CONTENDERS)]
    ends = await at_once([partial(case.store.append, replace(claim), unit) for unit in units])
    won = one_winner(ends, "units that follow the same event", loses=ClaimLost)
    fault = fault_in_events((await case.log(claim.run_id))[1:], units[won])
    if fault:
        broken(f"of {_CONTENDERS} units that follow the same event at once, unit {won} won, but {fault}")


async def _side_by_side(case: StoreCase) -> None:
    claims = [await case.run() for _ in range(_RUNS)]

    async def grow(claim: Claim) -> None:
        for count in (1, 5, 2):
            claim.last_seq = (await case.store.append(replace(claim), notes(claim, count))).last_seq

    ends = await at_once([partial(grow, claim) for claim in claims])
    lost = next((end for end in ends if end is not None), None)
    if lost is not None:
        broken(f"of {_RUNS} runs that grew at once, one met {name_of(lost)}")
    for claim in claims:
        fault = fault_in_events((await case.log(claim.run_id))[1:], notes(Claim(claim.run_id, 1, 1), 8))
        if fault:
            broken(f"of {_RUNS} runs that grew at once, in one {fault}")


async def _cancelled(case: StoreCase) -> None:
    item = InboxItem("answer", "ask", 0, "yes", 5)
    for delay_s in _DELAYS_S:
        claim = await case.run()
        await case.store.post(claim.run_id, item)
        before = await case.store.load(claim.run_id)
        unit = notes(claim, 64)
        what = f"an append cancelled after {delay_s * 1000:g} ms"
        with anyio.move_on_after(delay_s):
            try:
                await case.raw.append(replace(claim), unit, status="waiting", consumed=[item], wake_at=2**52)
            except Exception as error:  # it ends with the cancellation and nothing else
                broken(f"{what} ended with {name_of(error)}")
        await _all_or_nothing(case, before, what)


async def _all_or_nothing(case: StoreCase, before: RunRow, what: str) -> None:
    row = await case.store.load(before.id)
    if row.last_seq not in (1, 65):
        broken(f"after {what}, the row's last_seq is {row.last_seq}; the unit reached from 2 to 65")
    landed = row.last_seq == 65
    wanted = replace(before, last_seq=65, status="waiting", wake_at=2**52) if landed else before
    await case.unchanged(wanted, what)
    if bool(await case.store.inbox(before.id)) is landed:
        broken(f"after {what}, its events are {'' if landed else 'not '}there, but what it consumed says the opposite")
    claim = Claim(before.id, 1, row.last_seq)
    try:
        await case.store.append(claim, notes(claim, 1))
    except ClaimLost as error:
        broken(f"after {what}, load() said last_seq={row.last_seq}, but the unit that follows met {name_of(error)}")
    await case.unchanged(replace(wanted, last_seq=row.last_seq + 1), f"{what} and one more unit")


async def _instant(case: StoreCase) -> None:
    if not getattr(case.raw, "is_instant", False):
        skipped("it does not say is_instant = True")
    claim = await case.run()
    asked = cast("Coroutine[Any, Any, AppendReply]", case.raw.append(replace(claim), notes(claim, 1)))
    try:
        asked.send(None)
    except StopIteration:
        return
    asked.close()
    broken("append() waited for something")


async def _copies(case: StoreCase) -> None:
    row = case.row()
    first: list[Event] = [_started(row)]
    await case.store.create(row, first, definition=None)
    first.clear()
    unit: list[Event] = [Warned(None, "truncated", "a", run_id=row.id, seq=2)]
    await case.store.append(Claim(row.id, 1, 1), unit)
    unit.clear()
    page = await case.store.events(row.id)
    if isinstance(page, list):
        page.clear()
    found = len(await case.log(row.id))
    if found != 2:
        broken(f"the log holds {found} events, not 2, after the caller cleared the lists it gave and got")


RULES_BEFORE = (
    Rule(
        "made",
        "The factory makes a store with every method of RunStore.",
        "See llmorch.ports.RunStore; all of its methods are async.",
        _made,
        after=(),
    ),
    Rule(
        "created",
        "A run that was created is there with its row and its first events.",
        "Keep every field of the RunRow, and the events in order.",
        _created,
        after=("made",),
    ),
)

RULES = (
    Rule(
        "units",
        "Units follow one another, and the reply says the last seq and that the inbox is empty.",
        "Add the events, move the row's last_seq on, and give AppendReply(last_seq, inbox).",
        _units,
    ),
    Rule(
        "status",
        "A status given with a unit is the run's from then on, with its wake_at; an ended run has a finished_at.",
        "Set status and wake_at (None too) in the unit's transaction; succeeded, partial, failed and cancelled end it.",
        _status,
        after=("made", "created", "units"),
    ),
    Rule(
        "gaps",
        "A unit that does not follow the log without a gap is refused, and nothing of it is written.",
        "Check the seq of every event of the unit before anything is written.",
        _gaps,
    ),
    Rule(
        "guarded",
        "A unit whose epoch or last seq is not the run's raises ClaimLost and changes nothing.",
        "UPDATE runs SET last_seq = ... WHERE id = ? AND epoch = ? AND last_seq = ?; roll back when no row changed.",
        _guarded,
    ),
    Rule(
        "again",
        "A unit given again, because the first reply was lost, is not written twice, and nothing of it is late.",
        "Answer as the first time when the log holds these very events under the same epoch; ClaimLost will do too.",
        _again,
    ),
    Rule(
        "paging",
        "events() gives what comes after a seq, in order, 500 at most or as many as asked.",
        "WHERE seq > ? ORDER BY seq LIMIT ?.",
        _paging,
    ),
    Rule(
        "equal",
        "An event of every class comes back equal: amounts to the last digit, keys in their order, ints of any size.",
        "Keep llmorch.event_lines.to_line(event) as text or bytes and read it with from_line; no float, no JSON column "
        "that sorts keys.",
        _equal,
    ),
    Rule(
        "half-pairs",
        "Text with half a surrogate pair is kept as it is, or its whole unit is refused.",
        "Keep the ASCII line of to_line, or make the lines before the transaction begins.",
        _halves,
    ),
    Rule(
        "big-unit",
        "A unit of 256 events of 4 KB is kept whole.",
        "Split what a statement or message may hold, inside of one transaction.",
        _big,
    ),
    Rule(
        "appends-at-once",
        "Of units that follow the same event at once, exactly one is written and the others raise ClaimLost.",
        "Check the guard and write in one transaction that takes its lock first (BEGIN IMMEDIATE, FOR UPDATE).",
        _contenders,
    ),
    Rule(
        "side-by-side",
        "Runs that grow at once do not touch each other.",
        "Keep nothing of a unit in the store; give each transaction its own connection or its turn.",
        _side_by_side,
    ),
    Rule(
        "cancelled",
        "A cancelled append is written whole or not at all, which is settled when it ends, and the store stays usable.",
        "Shield the commit and wait for it (anyio.CancelScope(shield=True)), or roll back on the way out.",
        _cancelled,
        cancels=True,
    ),
    Rule(
        "instant",
        "With is_instant = True, append() waits for nothing.",
        "Leave is_instant out.",
        _instant,
    ),
    Rule(
        "copies",
        "Lists that the caller gave or got are the caller's to change.",
        "Copy what you keep and what you give.",
        _copies,
    ),
)
