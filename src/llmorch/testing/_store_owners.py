"""Rules about owners: claims, what others leave in the inbox, and what is recovered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from .._clock import now_us
from ..errors import AlreadyAnswered, ClaimLost
from ..event_late import late_events
from ..events import CallFinished, Event, StepStarted, StepSucceeded
from ..models.usage import Usage
from ..ports import Claim, InboxItem, RunRow
from ._store_rule import Rule, StoreCase, at_once, fault_in_events, note, notes, one_winner, refused
from ._store_samples import DATA
from ._suite import broken

__all__ = ["RULES"]

_CONTENDERS = 8
_ROUNDS = 12
_HOUR_US = 3_600_000_000


async def _claims(case: StoreCase) -> None:
    first = await case.run()
    for owner in ("owner-2", "owner-1"):
        error = await refused(case.store.claim(first.run_id, owner), f"claim() by {owner} of a run that owner-1 has")
        if "owner-1" not in str(error):
            broken(f"claim() of a run that owner-1 has does not name the owner: {error}")
    await case.store.renew(first)
    if await case.store.release(first, status="waiting") is not True:
        broken("release() with an empty inbox did not give True")
    row = await case.store.load(first.run_id)
    if (row.owner, row.status) != (None, "waiting"):
        broken(f"after release(status='waiting'), the row says owner={row.owner!r}, status={row.status!r}")
    second = await case.store.claim(first.run_id, "owner-2")
    row = await case.store.load(first.run_id)
    seen = (second.run_id, second.epoch, second.last_seq, row.owner, row.epoch, row.status, row.recoveries)
    if seen != (first.run_id, 2, 1, "owner-2", 2, "waiting", 0):
        broken(
            f"a claim of a released run gave {second} and the row {row}; its epoch must be 2, and no recovery counts"
        )
    await _lost(case, first, row)
    await case.store.append(replace(second), notes(second, 1), status="failed")
    second.last_seq = 2
    await case.store.release(second, status="failed")
    third = await case.store.claim(first.run_id, "owner-1")
    if (third.epoch, third.last_seq) != (3, 2):
        broken(f"a claim of a run that ended and was released gave {third}, not epoch 3 after event 2")


async def _lost(case: StoreCase, claim: Claim, row: RunRow) -> None:
    """A claim that was lost has no power over the run."""
    await refused(case.store.renew(claim), "renew() of a claim that was lost")
    await refused(case.store.append(replace(claim), notes(claim, 1)), "append() with a claim that was lost")
    await case.store.release(claim, status="failed")
    await case.unchanged(row, "release() of a claim that was lost")


async def _takeover(case: StoreCase) -> None:
    first = await case.run()
    second = await case.store.claim(first.run_id, "owner-2", takeover=True)
    row = await case.store.load(first.run_id)
    if (second.epoch, second.last_seq, row.owner, row.epoch) != (2, 1, "owner-2", 2):
        broken(f"claim(takeover=True) gave {second}, and the row says owner={row.owner!r}, epoch={row.epoch}")
    await _lost(case, first, row)
    await case.store.append(replace(second), notes(second, 1))
    free = await case.run(status="waiting")
    if (await case.store.claim(free.run_id, "owner-2", takeover=True)).epoch != 2:
        broken("claim(takeover=True) of a run that nobody has did not give epoch 2")


async def _claims_at_once(case: StoreCase) -> None:
    for _ in range(3):
        free = await case.run(status="waiting")
        names = [f"owner-{place + 2}" for place in range(_CONTENDERS)]
        ends = await at_once([partial(case.store.claim, free.run_id, name) for name in names])
        won = one_winner(ends, "claims of a free run", loses=ClaimLost)
        row = await case.store.load(free.run_id)
        if (row.owner, row.epoch) != (names[won], 2):
            broken(f"{names[won]} won the claim, but the row says owner={row.owner!r}, epoch={row.epoch}")


async def _inbox(case: StoreCase) -> None:
    claim, other = await case.run(), await case.run()
    items = [
        InboxItem("answer", "ask", 0, DATA, 1_700_000_000_000_001, "Ada"),
        InboxItem("late", "ask", 1, ["line"], 1_700_000_000_000_002),
        InboxItem("late", "ask", 2, None, 1_700_000_000_000_003, ""),
        InboxItem("answer", "ask[0]", 0, 2**70, 1_700_000_000_000_004, "Grüße"),
        InboxItem("cancel", at=1_700_000_000_000_005),
    ]
    for item in items:
        await case.store.post(claim.run_id, item)
    await case.store.post(other.run_id, items[0])
    await _holds(case, claim, items, "five items were put")
    again = replace(items[0], data="another", by="Bob")
    await refused(case.store.post(claim.run_id, again), "a second answer to the same step", kinds=(AlreadyAnswered,))
    await _holds(case, claim, items, "a second answer was refused")
    reply = await case.store.append(replace(claim), notes(claim, 1), consumed=[items[1], items[0]])
    if reply.inbox is not True:
        broken(f"append() answered inbox={reply.inbox!r} while three items were left")
    await _holds(case, claim, items[2:], "a unit consumed the first two of five")
    await refused(
        case.store.post(claim.run_id, again), "an answer to a step that took one up", kinds=(AlreadyAnswered,)
    )
    claim.last_seq = 2
    reply = await case.store.append(replace(claim), notes(claim, 1), consumed=items[2:])
    if reply.inbox is not False:
        broken(f"append() answered inbox={reply.inbox!r} after everything was consumed")
    await _holds(case, claim, [], "a unit consumed the rest")
    await _holds(case, other, items[:1], "another run's inbox was consumed")


async def _holds(case: StoreCase, claim: Claim, wanted: list[InboxItem], when: str) -> None:
    found = list(await case.store.inbox(claim.run_id))
    if found != wanted:
        shown = [(item.kind, item.step, item.call) for item in found]
        same = shown == [(item.kind, item.step, item.call) for item in wanted]
        broken(f"when {when}, inbox() gave {shown}{', but with other values' if same else ''}; oldest first, as put")


async def _puts_at_once(case: StoreCase) -> None:
    claim = await case.run()
    items = [InboxItem("answer", "ask", 0, f"answer {place}", 5, f"person {place}") for place in range(_CONTENDERS)]
    ends = await at_once([partial(case.store.post, claim.run_id, item) for item in items])
    won = one_winner(ends, "answers to one step", loses=AlreadyAnswered)
    await _holds(case, claim, [items[won]], f"answer {won} of {_CONTENDERS} won")


async def _release(case: StoreCase) -> None:
    claim = await case.run()
    await case.store.append(replace(claim), notes(claim, 1), status="waiting")
    claim.last_seq = 2
    before = await case.store.load(claim.run_id)
    await case.store.post(claim.run_id, InboxItem("answer", "ask", 0, "yes", 5))
    if await case.store.release(claim, status="failed") is not False:
        broken("release() with something in the inbox did not give False")
    await case.unchanged(before, "release() with something in the inbox")
    await case.store.append(replace(claim), notes(claim, 1))  # its owner goes on
    for _ in range(_ROUNDS):
        await _race(case)


async def _race(case: StoreCase) -> None:
    """An answer comes while its run is given up: the owner hears of it, or it can be recovered."""
    claim = await case.run()

    async def answer() -> bool:
        await case.store.post(claim.run_id, InboxItem("answer", "ask", 0, "yes", 5))
        return True

    async def leave() -> bool:
        return await case.store.release(claim, status="waiting")

    ends = await at_once([answer, leave])
    failed = next((end for end in ends if isinstance(end, Exception)), None)
    if failed is not None:
        raise failed
    row = await case.store.load(claim.run_id)
    listed = claim.run_id in [one.id for one in await case.store.recoverable(now=now_us())]
    free = ends[1] is True
    if (row.owner is None, listed) != (free, free):
        broken(
            f"release() at the moment of post() gave {ends[1]}, and then the row says owner={row.owner!r} and "
            f"recoverable() {'lists' if listed else 'does not list'} the run"
        )


async def _late(case: StoreCase) -> None:
    old = await case.run()
    new = await case.store.claim(old.run_id, "owner-2", takeover=True)
    await case.store.append(replace(new), notes(new, 1))
    at: dict[str, Any] = {"run_id": old.run_id, "at_us": 1_700_000_000_000_000}  # Any: fields of events
    kept: list[Event] = [
        CallFinished("draft", 2, usage=Usage(input_tokens=3, requests=1), seq=3, **at),
        StepSucceeded("draft", DATA, seq=4, **at),
    ]
    unit = [StepStarted("draft", seq=2, **at), *kept, StepSucceeded("count", 3, seq=5, **at)]
    for _ in range(2):  # the same once more is no news
        await refused(case.store.append(replace(old), unit), "append() with a claim that was lost")
    if len(await case.log(old.run_id)) != 2:
        broken("a unit that was refused is in the log")
    found = list(await case.store.inbox(old.run_id))
    if [(item.kind, item.step, item.call) for item in found] != [("late", "draft", 2)]:
        broken(f"a refused unit with the end of call 2 and the success of its step left {found!r} in the inbox")
    fault = fault_in_events(late_events(found[0]), kept)
    if fault:
        broken(f"of the late answer, {fault}")
    new.last_seq = 2
    if (await case.store.append(replace(new), notes(new, 1))).inbox is not True:
        broken("append() answered inbox=False while a late answer waits")


async def _recoverable(case: StoreCase) -> None:
    places: dict[str, str] = {}

    async def made(what: str, *steps: tuple[str, int | None], release: str | None, inbox: bool = False) -> None:
        claim = await case.run()
        places[claim.run_id] = what
        for status, wake_at in steps:
            await case.store.append(replace(claim), [note(claim)], status=status, wake_at=wake_at)
            claim.last_seq += 1
        if release is not None:
            await case.store.release(claim, status=release)
        if inbox:
            await case.store.post(claim.run_id, InboxItem("answer", "ask", 0, "yes", 5))

    now = now_us()
    await made("running, owned", release=None)
    await made("running, given up", release="running")
    await made("waiting, nothing to do", ("waiting", None), release="waiting")
    await made("waiting, answered", ("waiting", None), release="waiting", inbox=True)
    await made("waiting, its time came", ("waiting", now - _HOUR_US), release="waiting")
    await made("waiting, its time will come", ("waiting", now + _HOUR_US), release="waiting")
    await made("waiting, answered, owned", ("waiting", None), release=None, inbox=True)
    await made("ended, with an inbox", ("failed", None), release="failed", inbox=True)
    late = (("waiting", now - _HOUR_US), ("running", None), ("waiting", None))
    await made("waiting again, without a time", *late, release="waiting")
    wanted = ["running, given up", "waiting, answered", "waiting, its time came"]
    for limit in (100, 2):
        found = [places[row.id] for row in await case.store.recoverable(now=now, limit=limit)]
        if found != wanted[:limit]:
            broken(f"recoverable(limit={limit}) gave the runs {found}, not {wanted[:limit]}")
    run_id = next(run_id for run_id, what in places.items() if what == wanted[0])
    await case.store.claim(run_id, "owner-2")
    if run_id in [row.id for row in await case.store.recoverable(now=now)]:
        broken("recoverable() lists a run that was claimed")


RULES = (
    Rule(
        "claims",
        "A run has one owner; a claim of a free run raises the epoch, and a lost claim has no power.",
        "UPDATE runs SET owner = ?, epoch = epoch + 1 WHERE owner IS NULL (or is dead); no row changed is ClaimLost.",
        _claims,
    ),
    Rule(
        "takeover",
        "claim(takeover=True) takes a run from an owner that lives.",
        "Leave the condition on the owner out, and raise the epoch as ever.",
        _takeover,
    ),
    Rule(
        "claims-at-once",
        "Of claims of a free run at once, exactly one wins.",
        "Go by the number of rows that the UPDATE changed, never by what was read before.",
        _claims_at_once,
    ),
    Rule(
        "inbox",
        "The inbox keeps the first item of a kind, step and call, oldest first, until a unit consumes it.",
        "A unique index on (run, kind, step, call), and a mark instead of nothing for what was taken up.",
        _inbox,
    ),
    Rule(
        "puts-at-once",
        "Of answers to one step at once, exactly one wins and the others raise AlreadyAnswered.",
        "Let the unique index decide.",
        _puts_at_once,
    ),
    Rule(
        "release",
        "A run with something in its inbox is not given up: release() gives False and changes nothing.",
        "UPDATE runs SET owner = NULL ... WHERE NOT EXISTS an inbox row, in one statement.",
        _release,
        after=("made", "created", "inbox"),
    ),
    Rule(
        "late",
        "Of a unit refused because the claim was lost, paid answers wait in the inbox.",
        "Put llmorch.event_late.late_items(events) into the inbox in the same transaction; what is there stays.",
        _late,
        after=("made", "created", "takeover", "inbox"),
    ),
    Rule(
        "recoverable",
        "recoverable() gives free runs that are running, or waiting with an inbox or a wake_at that passed.",
        "Oldest first; nothing that ended, nothing that a living owner has.",
        _recoverable,
    ),
)
