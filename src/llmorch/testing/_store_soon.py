"""The rule about a store that carries on by itself: what `append_soon` was given is committed, waited for or not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio

from ..errors import ClaimLost
from ..events import Event
from ..ports import AppendReply, Claim
from ._store_rule import Rule, StoreCase, fault_in_events, notes
from ._suite import broken, skipped

__all__ = ["RULES"]

_LOOK_S = 0.001
Job = Any  # what append_soon gives: no class, only the attributes that the rule is about


async def _soon(case: StoreCase) -> None:
    if not callable(getattr(case.raw, "append_soon", None)):
        skipped("it has no append_soon(), which only spares time")
    claim = await case.run()
    wanted = list(await case.log(claim.run_id))
    for meanwhile, told in (
        (_nobody_waits, "a unit that nobody waits for"),
        (_waiter_is_cancelled, "a unit whose waiter was cancelled"),
        (_waiter_is_woken, "a unit whose waiter was woken"),
        (_thread_blocks, "a unit for which the event loop stood still"),
    ):
        unit = notes(claim, 2)
        job = _queued(case, claim, unit)
        await meanwhile(case, job)
        await _committed(case, job, seq=claim.last_seq + 2, told=told)
        wanted += unit
        claim.last_seq += 2
    last = Claim(claim.run_id, claim.epoch, claim.last_seq - 2)
    with suppress(ClaimLost):
        await _committed(case, _queued(case, last, wanted[-2:]), seq=claim.last_seq, told="a unit given twice")
    fault = fault_in_events(await case.log(claim.run_id), wanted)
    if fault:
        broken(f"of the units given to append_soon(), the last one twice, {fault}")
    await _strangers(case, Claim(claim.run_id, claim.epoch + 1, claim.last_seq))


def _queued(case: StoreCase, claim: Claim, unit: Sequence[Event]) -> Job:
    soon: Any = case.raw  # Any: a store with a method that the port does not have
    job = soon.append_soon(replace(claim), unit, status=None, consumed=(), wake_at=None)
    lacks = [name for name in ("is_done", "wait", "wake", "given") if not hasattr(job, name)]
    if lacks:
        broken(f"append_soon() gave {type(job).__name__}, which has no {', '.join(lacks)}")
    return job


async def _nobody_waits(case: StoreCase, job: Job) -> None:
    """Nothing happens meanwhile."""


async def _waiter_is_cancelled(case: StoreCase, job: Job) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await job.wait()


async def _waiter_is_woken(case: StoreCase, job: Job) -> None:
    job.wake()
    with anyio.move_on_after(case.limit_s) as limit:
        await job.wait()
        while not job.is_done:
            await job.wait()
    if limit.cancelled_caught:
        broken(f"wait() did not return in {case.limit_s:g} s, though wake() was called and the unit queued")


async def _thread_blocks(case: StoreCase, job: Job) -> None:
    """The event loop stands still until it is done, where the job has a way to wait like that."""
    done_within = getattr(job, "done_within", None)
    if done_within is None:
        return
    said = done_within(case.limit_s)
    if said is not True or not job.is_done:
        broken(
            f"done_within({case.limit_s:g}) was {said!r} and is_done {job.is_done!r}; "
            "leave done_within out where a unit needs the event loop"
        )


async def _committed(case: StoreCase, job: Job, *, seq: int, told: str) -> None:
    """The job of a unit is done, and says so."""
    await _ended(case, job, told)
    reply = job.given()
    if not isinstance(reply, AppendReply) or reply.last_seq != seq or reply.inbox is not False:
        broken(f"given() of {told} was {reply!r}, where the last event is {seq} and the inbox empty")


async def _ended(case: StoreCase, job: Job, told: str) -> None:
    """The job is done in time although nobody waits for it."""
    with anyio.move_on_after(case.limit_s):
        while not job.is_done:  # noqa: ASYNC110 - to wait for it is what this is the opposite of
            await anyio.sleep(_LOOK_S)
    if not job.is_done:
        broken(f"{told} was not done in {case.limit_s:g} s")


async def _strangers(case: StoreCase, stranger: Claim) -> None:
    """A unit of another epoch is refused to whoever asks its job."""
    before = await case.store.load(stranger.run_id)
    job = _queued(case, stranger, notes(stranger, 1))
    await _ended(case, job, "a unit of another epoch")
    try:
        reply = job.given()
    except ClaimLost:
        await case.unchanged(before, "a unit of another epoch was refused")
    else:
        broken(f"given() of a unit of another epoch was {reply!r}; it must raise ClaimLost")


RULES = (
    Rule(
        "soon",
        "What append_soon() is given is committed once, waited for or not, and its job tells the reply or the error.",
        "Leave append_soon out, or give a job with is_done, wait(), wake() and given() that carries on by itself.",
        _soon,
    ),
)
