"""Rules about stores that last: what is there when the same data are opened again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from .._clock import now_us
from ..errors import AlreadyAnswered, ClaimLost, RunNotFound
from ..events import StepStarted, StepSucceeded
from ..ports import Claim, InboxItem, RunStore
from ._store_rule import Rule, StoreCase, at_once, fault_in_events, fault_in_row, notes, one_winner, refused, started
from ._store_samples import DATA, every_event
from ._suite import broken, skipped

__all__ = ["RULES"]

_SHA = "ab" * 32


async def _closing(case: StoreCase) -> None:
    await case.run()
    for _ in range(2):
        await case.store.aclose()


async def _survives(case: StoreCase) -> None:
    if case.again is None:
        skipped("no reopen= was given")
    row = case.row(idempotency_key="key", inputs_sha="aa", definition_sha=_SHA, tags=("x", "ü"))
    first = [started(row)]
    await case.store.create(row, first, definition=DATA)
    unit = every_event()
    for place, event in enumerate(unit):
        event.run_id, event.seq, event.at_us = row.id, place + 2, 1_700_000_000_123_456 + place
    answer, left = InboxItem("answer", "ask", 0, DATA, 5, "Ada"), InboxItem("answer", "other", 1, None, 6)
    await case.store.post(row.id, answer)
    claim = Claim(row.id, 1, 1)
    await case.store.append(claim, unit, status="waiting", consumed=[answer], wake_at=2**52)
    await case.store.release(Claim(row.id, 1, len(unit) + 1), status="waiting")
    await case.store.post(row.id, left)
    gone = await case.run()
    await case.store.delete_run(gone.run_id)
    before = await case.store.load(row.id)
    await case.store.aclose()
    again = await case.opened()
    fault = fault_in_row(await again.load(row.id), before)
    fault = fault or fault_in_events(await again.events(row.id), [*first, *unit])
    if fault:
        broken(f"opened again, {fault}")
    if list(await again.inbox(row.id)) != [left]:
        broken(f"opened again, the inbox holds {await again.inbox(row.id)}, not {[left]}")
    asked = again.post(row.id, answer)
    await refused(asked, "opened again, an answer to a step that took one up", kinds=(AlreadyAnswered,))
    await refused(again.load(gone.run_id), "opened again, load() of a deleted run", kinds=(RunNotFound,))
    definition = await again.definition(_SHA)
    if definition is None or dict(definition) != DATA:
        broken(f"opened again, definition() gave {definition!r}")
    other = case.row(idempotency_key="key", inputs_sha="aa")
    if (await again.create(other, [started(other)], definition=None)).id != row.id:
        broken("opened again, an idempotency key used before gave a new run")
    await _goes_on(again, row.id, len(unit) + 1)


async def _goes_on(again: RunStore, run_id: str, last: int) -> None:
    claim = await again.claim(run_id, "owner-2")
    if (claim.epoch, claim.last_seq) != (2, last):
        broken(f"opened again, a claim gave {claim}, not epoch 2 after event {last}")
    await again.append(replace(claim), notes(claim, 1))


async def _dead_owner(case: StoreCase) -> None:
    if case.again is None:
        skipped("no reopen= was given")
    left = await case.run()
    released = await case.run(status="running")
    await case.store.aclose()
    again = await case.opened()
    if (await again.load(left.run_id)).lease_until is not None:
        skipped("its owners hold leases, which last a while after they died")
    for row in (await again.load(left.run_id), *[row for row in await again.list_runs() if row.id == left.run_id]):
        if row.owner is not None:
            broken(f"load() and list_runs() name the owner {row.owner!r}, who is gone; nobody carries the run out")
    found = [row.id for row in await again.recoverable(now=now_us())]
    if found != [left.run_id, released.run_id]:
        broken(f"recoverable() lists {len(found)} runs; both the one whose owner is gone and the one given up wait")
    claim = await again.claim(left.run_id, "owner-2")
    await again.claim(released.run_id, "owner-2")
    counts = [(await again.load(run_id)).recoveries for run_id in found]
    if counts != [1, 0]:
        broken(
            f"recoveries are {counts[0]} and {counts[1]}, not 1 for the run whose owner died and 0 for the one given up"
        )
    for event, wanted in ((StepStarted("draft"), 1), (StepSucceeded("draft", 1), 0)):
        event.run_id, event.seq = left.run_id, claim.last_seq + 1
        claim.last_seq = (await again.append(replace(claim), [event])).last_seq
        count = (await again.load(left.run_id)).recoveries
        if count != wanted:
            broken(f"recoveries are {count}, not {wanted}, after a {type(event).__name__}")


async def _revision(case: StoreCase) -> None:
    asked = getattr(case.store, "revision", None)
    if asked is None:
        skipped("it has no revision(), which is only needed where several processes use it")
    claim = await case.run()
    before = await asked()
    await case.store.append(replace(claim), notes(claim, 1))
    after = await asked()
    if before == after:
        broken(f"revision() gives {after!r} before and after a commit")
    if case.again is not None:
        await (await case.opened()).post(claim.run_id, InboxItem("answer", "ask", 0, "yes", 5))
        if await asked() == after:
            broken(f"revision() gives {after!r} before and after a commit over another handle")


async def _two_handles(case: StoreCase) -> None:
    if case.again is None:
        skipped("no reopen= was given")
    one, two = case.store, await case.opened()
    claim = await case.run()
    await one.append(replace(claim), notes(claim, 3))
    claim.last_seq = 4
    if [event.seq for event in await two.events(claim.run_id, after=1)] != [2, 3, 4]:
        broken("a second handle does not see the events that the first one committed")
    await refused(two.claim(claim.run_id, "owner-2"), "a second handle's claim of a run that the first one has")
    await two.post(claim.run_id, InboxItem("answer", "ask", 0, "yes", 5))
    item = InboxItem("answer", "ask", 0, "no", 6)
    await refused(one.post(claim.run_id, item), "an answer after one over the other handle", kinds=(AlreadyAnswered,))
    if await one.release(claim, status="waiting") is not False:
        broken("release() gave the run up although the other handle had put something into its inbox")
    await one.append(replace(claim), notes(claim, 1), consumed=await one.inbox(claim.run_id), status="waiting")
    claim.last_seq = 5
    await one.release(claim, status="waiting")
    await two.claim(claim.run_id, "owner-2")
    asked = one.append(replace(claim), notes(claim, 1))
    await refused(asked, "append() with a claim that the other handle took")
    free = await case.run(status="waiting")
    asks = [(one, "owner-2"), (two, "owner-3"), (one, "owner-4"), (two, "owner-5")]
    claims = [partial(handle.claim, free.run_id, name) for handle, name in asks]
    one_winner(await at_once(claims), "claims over two handles", loses=ClaimLost)


RULES = (
    Rule(
        "closing",
        "aclose() may come twice.",
        "Forget what was closed.",
        _closing,
    ),
    Rule(
        "survives",
        "Everything is there when the same data are opened again.",
        "Commit before a method returns; keep nothing in memory that cannot be read again.",
        _survives,
    ),
    Rule(
        "dead-owner",
        "A run whose owner is gone can be claimed, which counts as a recovery until a step is recorded.",
        "Tell a dead owner from a living one by a lock or a lease; aclose() lets go of it.",
        _dead_owner,
    ),
    Rule(
        "revision",
        "revision(), where there is one, differs after every commit, whoever made it.",
        "Ask the database, not the memory of one handle.",
        _revision,
    ),
    Rule(
        "two-handles",
        "Two handles on the same data see each other's commits and keep to each other's claims.",
        "Decide in the data (transaction, lock), not in the memory of one handle.",
        _two_handles,
    ),
)
