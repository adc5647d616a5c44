"""The suite of run stores finds what it says it finds: each small broken store breaks the rules it is there for."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch import events as all_events
from llmorch.errors import AlreadyAnswered, ClaimLost, IdempotencyConflict, RunNotFound, StoreError
from llmorch.event_lines import from_line, to_line
from llmorch.events import CallFinished, Event, StepDelta, Warned
from llmorch.ports import AppendReply, Claim, InboxItem, RunRow, RunStore
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ConformanceFailed, check_run_store
from llmorch.testing._store_samples import every_event
from llmorch.testing.store_conformance import _RULES

ON_ASYNCIO = ("asyncio",)


class Waiting(MemoryStore):
    """Commits like a store that waits for something."""

    is_instant = False


class Incomplete(MemoryStore):
    post: Any = None


class ForgetsTags(MemoryStore):
    async def create(self, row: RunRow, first: Sequence[Event], **about: Any) -> RunRow:
        return await super().create(replace(row, tags=()), first, **about)


class AlwaysMail(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        return replace(await super().append(claim, events, **about), inbox=True)


class KeepsItsAlarm(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        if about.get("wake_at") is None:
            about["wake_at"] = self._log(claim.run_id).wake_at
        return await super().append(claim, events, **about)


class Renumbers(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        unit = [replace(event, seq=claim.last_seq + at) for at, event in enumerate(events, 1)]
        return await super().append(claim, unit, **about)


class IgnoresTheEpoch(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        return await super().append(replace(claim, epoch=self._log(claim.run_id).epoch), events, **about)


class ConsumesAnyway(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        self._log(claim.run_id).take(about.pop("consumed", ()))
        return await super().append(claim, events, **about)


class WritesTwice(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        log = self._log(claim.run_id)
        if log.events[claim.last_seq :] == list(events):
            log.events.extend(events)
        return await super().append(claim, events, **about)


class ShortPages(MemoryStore):
    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        return await super().events(run_id, after=after, limit=min(limit, 100) if limit < 1_000 else limit)


class FloatMoney(MemoryStore):
    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        found = list(await super().events(run_id, after=after, limit=limit))
        for at, event in enumerate(found):
            if isinstance(event, CallFinished) and event.cost is not None:
                found[at] = replace(event, cost=Decimal(float(event.cost)))
        return found


class SortsKeys(MemoryStore):
    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        lines = [json.loads(to_line(event)) for event in await super().events(run_id, after=after, limit=limit)]
        return [from_line(json.dumps(line, sort_keys=True)) for line in lines]


class MendsText(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        unit = [
            replace(event, text=event.text.encode("utf-8", "replace").decode()) if isinstance(event, Warned) else event
            for event in events
        ]
        return await super().append(claim, unit, **about)


class HalfOfAHalf(Waiting):
    """Writes event by event, and stops at the first that it cannot encode."""

    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        for at, event in enumerate(events):
            if isinstance(event, Warned) and not event.text.isascii():
                try:
                    event.text.encode()
                except UnicodeEncodeError:
                    await super().append(claim, events[:at], **about)
                    raise
        return await super().append(claim, events, **about)


class CutsLongText(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        unit = [replace(event, text=event.text[:3_000]) if isinstance(event, Warned) else event for event in events]
        return await super().append(claim, unit, **about)


class ChecksThenWrites(Waiting):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        log = self._log(claim.run_id)
        if (
            log.last_seq == claim.last_seq
            and log.epoch == claim.epoch
            and [e.seq for e in events][:1] == [log.last_seq + 1]
        ):
            await anyio.lowlevel.checkpoint()
            del log.events[claim.last_seq :]
            log.last_seq = claim.last_seq
        return await super().append(claim, events, **about)


class OneUnitForAll(Waiting):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        self.unit = events
        await anyio.lowlevel.checkpoint()
        return await super().append(claim, self.unit, **about)


class HalfAUnit(Waiting):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        if len(events) != 64:
            return await super().append(claim, events, **about)
        reply = await super().append(claim, events[:32])
        await anyio.sleep(0.002)
        return await super().append(replace(claim, last_seq=reply.last_seq), events[32:], **about)


class LandsLater(Waiting):
    """A cancelled append goes on behind the caller's back, and load() takes a moment."""

    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        writing = asyncio.ensure_future(self._written(claim, events, about))
        try:
            return await asyncio.shield(writing)
        finally:
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _written(self, claim: Claim, events: Sequence[Event], about: Any) -> AppendReply:
        await asyncio.sleep(0.003)
        return await super().append(claim, events, **about)

    async def load(self, run_id: str) -> RunRow:
        row = await super().load(run_id)
        await asyncio.sleep(0.006)
        return row


class SwallowsCancellation(Waiting):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        try:
            await anyio.sleep(0.001)
        except BaseException as error:
            raise StoreError("the connection was interrupted") from error
        return await super().append(claim, events, **about)


class InstantInName(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        await anyio.lowlevel.checkpoint()
        return await super().append(claim, events, **about)


class Queued:
    """The job of a store that commits as soon as it is asked to."""

    def __init__(self, work: Callable[[], AppendReply]) -> None:
        self.work = work
        self.is_done = False
        self.reply: AppendReply | ClaimLost | None = None
        self.woken = anyio.Event()

    def carry_out(self) -> None:
        if not self.is_done:
            try:
                self.reply = self.work()
            except ClaimLost as error:
                self.reply = error
            self.is_done = True

    async def wait(self) -> None:
        await anyio.lowlevel.checkpoint()

    def wake(self) -> None:
        self.woken.set()

    def given(self) -> AppendReply:
        if isinstance(self.reply, ClaimLost):
            raise self.reply
        assert self.reply is not None
        return self.reply


class Soon(Waiting):
    job: type[Queued] = Queued

    def append_soon(self, claim: Claim, events: Sequence[Event], **about: Any) -> Any:
        job = self.job(lambda: self.append_now(claim, events, **about))
        job.carry_out()
        return job


class NeedsAWaiter(Soon):
    def append_soon(self, claim: Claim, events: Sequence[Event], **about: Any) -> Any:
        store = self

        class Lazy(Queued):
            async def wait(self) -> None:
                await anyio.lowlevel.checkpoint()
                self.carry_out()

        return Lazy(lambda: store.append_now(claim, events, **about))


class GoesWithItsWaiter(Soon):
    def append_soon(self, claim: Claim, events: Sequence[Event], **about: Any) -> Any:
        class Dropped(Queued):
            async def wait(self) -> None:
                try:
                    await anyio.lowlevel.checkpoint()
                except BaseException:
                    self.is_done, self.reply = True, AppendReply(claim.last_seq + len(events), False)
                    raise
                self.carry_out()

        job = Dropped(lambda: self.append_now(claim, events, **about))
        if len(events) == 2 and claim.last_seq == 1:
            job.carry_out()
        return job


class SleepsOn(Soon):
    class job(Queued):
        async def wait(self) -> None:
            await anyio.sleep_forever()


class NoWake(Soon):
    class job(Queued):
        wake: Any = property()


class BlocksForNothing(Soon):
    class job(Queued):
        def done_within(self, limit_s: float) -> bool:
            return False


class SaysDone(NeedsAWaiter):
    def append_soon(self, claim: Claim, events: Sequence[Event], **about: Any) -> Any:
        if claim.last_seq != 7:
            return Soon.append_soon(self, claim, events, **about)
        job = super().append_soon(claim, events, **about)
        job.done_within = lambda limit_s: True
        return job


class KeepsItsError(Soon):
    class job(Queued):
        def given(self) -> Any:
            return self.reply


class TwiceIsTwice(Soon):
    def append_soon(self, claim: Claim, events: Sequence[Event], **about: Any) -> Any:
        claim = replace(claim, last_seq=self._log(claim.run_id).last_seq)
        unit = [replace(event, seq=claim.last_seq + at) for at, event in enumerate(events, 1)]
        return super().append_soon(claim, unit, **about)


class GivesItsOwnList(MemoryStore):
    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        found = self._log(run_id).events
        return found if after == 0 and len(found) <= limit else await super().events(run_id, after=after, limit=limit)


class NothingIsAnEmptyLog(MemoryStore):
    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        return await super().events(run_id, after=after, limit=limit) if run_id in self._logs else []


class KeyIsEnough(MemoryStore):
    async def create(self, row: RunRow, first: Sequence[Event], **about: Any) -> RunRow:
        try:
            return await super().create(row, first, **about)
        except IdempotencyConflict as error:
            return await self.load(error.run_id or "")


class CountsTheFirstEnd(MemoryStore):
    def append_now(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        before = self._log(claim.run_id).totals
        reply = super().append_now(claim, events, **about)
        self._log(claim.run_id).totals = before or self._log(claim.run_id).totals
        return reply


class RoundsMoney(MemoryStore):
    async def load(self, run_id: str) -> RunRow:
        row = await super().load(run_id)
        cost = row.totals.get("cost")
        return row if cost is None else replace(row, totals={**row.totals, "cost": str(round(Decimal(cost), 6))})


class ForgetsTotals(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        reply = await super().append(claim, events, **about)
        if about.get("status") == "running":
            self._log(claim.run_id).totals = None
        return reply


class LooksThenCreates(Waiting):
    async def create(self, row: RunRow, first: Sequence[Event], **about: Any) -> RunRow:
        key = row.idempotency_key
        if key is not None and key not in self._keys:
            await anyio.lowlevel.checkpoint()
            self._keys.pop(key, None)
        return await super().create(row, first, **about)


class TagsByPattern(MemoryStore):
    async def list_runs(self, *, tag: str | None = None, **about: Any) -> Sequence[RunRow]:
        rows = await super().list_runs(**{**about, "limit": 1_000})
        found = [row for row in rows if tag is None or any(tag in one for one in row.tags)]
        return found[: about.get("limit", 50)]


class OldestFirst(MemoryStore):
    async def list_runs(self, **about: Any) -> Sequence[RunRow]:
        return list(await super().list_runs(**about))[::-1]


class TenAtATime(MemoryStore):
    async def list_runs(self, *, limit: int = 10, **about: Any) -> Sequence[RunRow]:
        return await super().list_runs(limit=limit, **about)


class OneUseOfADefinition(MemoryStore):
    async def delete_run(self, run_id: str) -> None:
        self._definitions.pop(self._log(run_id).created.definition_sha, None)
        await super().delete_run(run_id)


class LeavesTheInbox(MemoryStore):
    async def post(self, run_id: str, item: InboxItem) -> None:
        if run_id in self._logs or run_id == "0" * 26:
            await super().post(run_id, item)


class TakesFromTheLiving(MemoryStore):
    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        return await super().claim(run_id, owner, takeover=True)


class NamesNobody(MemoryStore):
    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        try:
            return await super().claim(run_id, owner, takeover=takeover)
        except ClaimLost:
            raise ClaimLost("the run is taken") from None


class AlwaysRenews(MemoryStore):
    async def renew(self, claim: Claim) -> None:
        await anyio.lowlevel.checkpoint()


class LostClaimsRelease(MemoryStore):
    async def release(self, claim: Claim, *, status: str) -> bool:
        return await super().release(replace(claim, epoch=self._log(claim.run_id).epoch), status=status)


class RefusesTakeovers(MemoryStore):
    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        return await super().claim(run_id, owner)


class LooksThenClaims(Waiting):
    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        if not takeover and self._log(run_id).owner is None:
            await anyio.lowlevel.checkpoint()
            takeover = True
        return await super().claim(run_id, owner, takeover=takeover)


class LooksThenPuts(Waiting):
    async def post(self, run_id: str, item: InboxItem) -> None:
        log, key = self._log(run_id), (item.kind, item.step, item.call)
        if key not in (log.inbox or {}) and key not in (log.taken or set()):
            await anyio.lowlevel.checkpoint()
            (log.inbox or {}).pop(key, None)
        await super().post(run_id, item)


class LastAnswerWins(MemoryStore):
    async def post(self, run_id: str, item: InboxItem) -> None:
        (self._log(run_id).inbox or {}).pop((item.kind, item.step, item.call), None)
        await super().post(run_id, item)


class ForgetsWhatWasTaken(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        try:
            return await super().append(claim, events, **about)
        finally:
            self._log(claim.run_id).taken = None


class AnswersWithKeyError(MemoryStore):
    async def post(self, run_id: str, item: InboxItem) -> None:
        try:
            await super().post(run_id, item)
        except AlreadyAnswered:
            raise KeyError(item.step) from None


class ReleasesWithMail(MemoryStore):
    async def release(self, claim: Claim, *, status: str) -> bool:
        log = self._logs[claim.run_id]
        kept, log.inbox = log.inbox, None
        given = await super().release(claim, status=status)
        log.inbox = kept
        return given


class DropsLateAnswers(MemoryStore):
    async def append(self, claim: Claim, events: Sequence[Event], **about: Any) -> AppendReply:
        log = self._log(claim.run_id)
        kept = dict(log.inbox or {})
        try:
            return await super().append(claim, events, **about)
        except ClaimLost:
            log.inbox = kept
            raise


class RecoversTheLiving(MemoryStore):
    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        rows = [log.row for log in self._logs.values() if replace(log, owner=None).waits(now)]
        return rows[:limit]


class ReleaseStopsTheAlarm(MemoryStore):
    async def release(self, claim: Claim, *, status: str) -> bool:
        given = await super().release(claim, status=status)
        self._logs[claim.run_id].wake_at = None
        return given


class ClosesOnce(MemoryStore):
    is_closed = False

    async def aclose(self) -> None:
        if self.is_closed:
            raise StoreError("it is closed")
        self.is_closed = True


class SameRevision(MemoryStore):
    async def revision(self) -> int:
        return 1


BROKEN: dict[type[MemoryStore], tuple[str, ...]] = {
    Incomplete: ("made",),
    ForgetsTags: ("created",),
    AlwaysMail: ("units", "again", "inbox"),
    KeepsItsAlarm: ("status", "recoverable"),
    Renumbers: ("gaps",),
    IgnoresTheEpoch: ("guarded", "claims", "takeover"),
    ConsumesAnyway: ("guarded",),
    WritesTwice: ("again",),
    ShortPages: ("paging",),
    FloatMoney: ("equal",),
    SortsKeys: ("equal",),
    MendsText: ("half-pairs",),
    HalfOfAHalf: ("half-pairs",),
    CutsLongText: ("big-unit",),
    ChecksThenWrites: ("appends-at-once",),
    OneUnitForAll: ("appends-at-once", "side-by-side"),
    HalfAUnit: ("cancelled",),
    LandsLater: ("cancelled",),
    SwallowsCancellation: ("cancelled",),
    InstantInName: ("instant",),
    NeedsAWaiter: ("soon",),
    GoesWithItsWaiter: ("soon",),
    SleepsOn: ("soon",),
    NoWake: ("soon",),
    BlocksForNothing: ("soon",),
    SaysDone: ("soon",),
    KeepsItsError: ("soon",),
    TwiceIsTwice: ("soon",),
    GivesItsOwnList: ("copies",),
    NothingIsAnEmptyLog: ("not-found", "deleted"),
    KeyIsEnough: ("idempotent",),
    LooksThenCreates: ("idempotent-at-once",),
    CountsTheFirstEnd: ("totals",),
    RoundsMoney: ("totals",),
    ForgetsTotals: ("totals",),
    TagsByPattern: ("listed",),
    OldestFirst: ("listed", "list-pages"),
    TenAtATime: ("list-pages",),
    OneUseOfADefinition: ("definitions",),
    LeavesTheInbox: ("deleted",),
    TakesFromTheLiving: ("claims", "claims-at-once"),
    NamesNobody: ("claims",),
    AlwaysRenews: ("claims", "takeover"),
    LostClaimsRelease: ("claims", "takeover"),
    RefusesTakeovers: ("takeover",),
    LooksThenClaims: ("claims-at-once",),
    LooksThenPuts: ("puts-at-once",),
    LastAnswerWins: ("inbox", "puts-at-once"),
    ForgetsWhatWasTaken: ("inbox",),
    AnswersWithKeyError: ("inbox", "puts-at-once"),
    ReleasesWithMail: ("release",),
    DropsLateAnswers: ("late",),
    RecoversTheLiving: ("deleted", "release", "recoverable"),
    ReleaseStopsTheAlarm: ("recoverable",),
    ClosesOnce: ("closing",),
    SameRevision: ("revision",),
}
REOPENED = ("survives", "dead-owner", "two-handles")


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_a_broken_store_is_caught_by_the_rules_it_breaks(store: type[MemoryStore]) -> None:
    limit_s = 1.0 if store in {NeedsAWaiter, SleepsOn} else 10.0  # they are found only when it is over
    with pytest.raises(ConformanceFailed) as caught:
        check_run_store(store, backends=ON_ASYNCIO, limit_s=limit_s)
    assert caught.value.report is not None
    assert caught.value.report.broken == BROKEN[store], str(caught.value)
    text = str(caught.value)
    for rule in _RULES:
        if rule.name in BROKEN[store]:
            assert f"broken {rule.name}: {rule.sentence}" in text
            assert f"do: {rule.remedy}" in text


def test_a_store_that_carries_on_by_itself_passes() -> None:
    report = check_run_store(Soon)
    assert "soon" in report.passed


def test_every_rule_is_broken_by_some_store() -> None:
    covered = {rule for rules in BROKEN.values() for rule in rules} | set(REOPENED)
    assert covered == {rule.name for rule in _RULES}


@pytest.mark.parametrize(
    ("reopen", "rules"),
    [
        (lambda store: MemoryStore(), REOPENED),
        (lambda store: copy.deepcopy(store), ("dead-owner", "two-handles")),
        (lambda store: store, ("dead-owner",)),
    ],
    ids=["it forgets everything", "two handles see different data", "its owners live on"],
)
def test_a_store_that_does_not_last_is_caught_where_it_is_opened_again(reopen: Any, rules: tuple[str, ...]) -> None:
    with pytest.raises(ConformanceFailed) as caught:
        check_run_store(MemoryStore, reopen=reopen, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == rules


def test_a_method_that_never_ends_costs_its_limit_and_is_named() -> None:
    class Stuck(MemoryStore):
        async def definition(self, sha: str) -> Any:
            await anyio.sleep_forever()

    with pytest.raises(ConformanceFailed, match=r"definition\(\) did not end within 0.2 s") as caught:
        check_run_store(Stuck, limit_s=0.2)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("definitions",)
    assert "seen (asyncio, trio)" in str(caught.value)


def test_an_error_that_nobody_expects_names_the_method() -> None:
    class Odd(MemoryStore):
        async def list_runs(self, **about: Any) -> Sequence[RunRow]:
            raise RuntimeError("no such column: tags")

    with pytest.raises(ConformanceFailed, match=r"list_runs\(\) raised RuntimeError: no such column: tags"):
        check_run_store(Odd, backends=ON_ASYNCIO)


def test_a_factory_that_fails_is_told_as_what_it_is() -> None:
    def factory() -> RunStore:
        raise OSError("no such folder")

    with pytest.raises(ConformanceFailed, match=r"the factory raised OSError: no such folder") as caught:
        check_run_store(factory, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("made",)


def test_the_factory_may_be_async_and_every_store_is_closed() -> None:
    opened: list[MemoryStore] = []

    class Counted(MemoryStore):
        async def aclose(self) -> None:
            if self in opened:
                opened.remove(self)

    async def factory() -> MemoryStore:
        await anyio.lowlevel.checkpoint()
        opened.append(Counted())
        return opened[-1]

    report = check_run_store(factory)
    assert not report.broken
    assert not opened
    assert {one.backend for one in report.checks} == {"asyncio", "trio"}
    assert set(report.skipped) == {*REOPENED, "revision", "soon"}


def test_a_rule_may_be_waived_for_a_reason_and_only_by_its_name() -> None:
    report = check_run_store(ClosesOnce, waive={"closing": "a demonstration"}, backends=ON_ASYNCIO)
    assert report.skipped["closing"] == "waived: a demonstration"
    with pytest.raises(ValueError, match="waive names no rule 'closng'; did you mean 'closing'"):
        check_run_store(MemoryStore, waive={"closng": ""})


def test_the_samples_hold_an_event_of_every_class_a_log_may_hold() -> None:
    kinds = {kind for kind in vars(all_events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert {type(event) for event in every_event()} == kinds - {Event, StepDelta}


def test_a_run_that_is_not_there_is_told_by_its_class() -> None:
    class Silent(MemoryStore):
        async def load(self, run_id: str) -> RunRow:
            try:
                return await super().load(run_id)
            except RunNotFound as error:
                raise LookupError(str(error)) from error

    with pytest.raises(ConformanceFailed, match=r"load.* raised LookupError: .*, not RunNotFound"):
        check_run_store(Silent, backends=ON_ASYNCIO)
