"""Any sequence of calls on two or three handles of one store gives what a model made of dicts gives."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from llmorch import CallFinished, Event, RunStarted, StepSucceeded, Usage, Warned
from llmorch._clock import now_us
from llmorch.errors import AlreadyAnswered, ClaimLost, IdempotencyConflict, RunNotFound
from llmorch.event_late import late_events
from llmorch.ports import Claim, InboxItem, RunRow, RunStore
from llmorch.runid import new_run_id
from llmorch.stores.memory import MemoryStore
from llmorch.stores.sqlite import SqliteStore
from tests.durability.machine_model import FINAL, Model, key_of
from tests.durability.processes_places import url_of

T = TypeVar("T")

LONG = os.environ.get("LLMORCH_LONG") == "1"
EXAMPLES = {"memory": 3_000, "sqlite": 1_000, "postgres": 200} if LONG else {"memory": 100, "sqlite": 40, "postgres": 8}
STEPS = 80 if LONG else 50
IN_MEMORY = "/dev/shm"
ERRORS = (AlreadyAnswered, ClaimLost, IdempotencyConflict, RunNotFound)
PHASES = [Phase.generate, *([Phase.shrink] if os.environ.get("MACHINE_SHRINK") else [])]  # may take five minutes
MOST_RUNS = 3
HOUR_US = 3_600_000_000
STATUSES = ("running", "waiting", *FINAL)
BODIES = {"sha-a": {"name": "a"}, "sha-b": None}


class World:
    """One store's data and how a process opens it; `ends` tells whether closing a handle frees its owner's runs."""

    ends = True

    async def open(self, owner: str) -> RunStore:
        raise NotImplementedError

    async def close(self, store: RunStore) -> None:
        await store.aclose()

    def throw_away(self) -> None:
        """The data are not needed any more."""


class InMemory(World):
    """All handles are one store, and whoever owns a run in it lives."""

    ends = False

    def __init__(self) -> None:
        self._store = MemoryStore(keep=10**6)

    async def open(self, owner: str) -> RunStore:
        return self._store

    async def close(self, store: RunStore) -> None:
        """Nothing to close."""


class InSqlite(World):
    """Each handle has a connection pair and an owner's lock of its own."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="llmorch-machine-", dir=IN_MEMORY if os.path.isdir(IN_MEMORY) else None))

    async def open(self, owner: str) -> RunStore:
        return SqliteStore(self._folder / "runs.db", durability="process", owner=owner)

    def throw_away(self) -> None:
        shutil.rmtree(self._folder)


class InPostgres(World):
    """Each handle has sessions and leases of its own; the server is one for all examples, the schema is not."""

    url = ""

    def __init__(self) -> None:
        self._schema = f"machine_{secrets.token_hex(6)}"

    async def open(self, owner: str) -> RunStore:
        from llmorch.stores.sqlalchemy.store import SqlAlchemyStore

        return SqlAlchemyStore(self.url, schema=self._schema, durability="process", owner=owner)


WORLDS: dict[str, type[World]] = {"memory": InMemory, "sqlite": InSqlite, "postgres": InPostgres}


class StoreMachine(RuleBasedStateMachine):
    """Rules are the port's methods; claims, good and lost ones, are what passes between them."""

    world: Callable[[], World]
    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = self.world()
        self.model = Model()
        self.handles: dict[str, RunStore] = {}
        self.opened = 0
        self.ids: list[str] = []
        self.units = 0
        self.holders: dict[tuple[str, int], str] = {}

    def ask(self, asked: Awaitable[T]) -> T | str:
        """What the store gives, or the name of the error."""

        async def bounded() -> T:
            async with asyncio.timeout(20):
                return await asked

        try:
            return self.runner.run(bounded())
        except ERRORS as error:
            return type(error).__name__

    def same(self, found: object, wanted: object, what: str) -> None:
        assert found == wanted, f"{what} gave {found!r}; the model says {wanted!r}"

    def handle(self, draw: int) -> RunStore:
        return list(self.handles.values())[draw % len(self.handles)]

    def run_id(self, draw: int) -> str:
        """A run that is there, or now and then one that was deleted."""
        known = self.ids if draw == 0 else list(self.model.runs)
        return known[draw % len(known)] if known else "nonesuch"

    # Handles

    @initialize(target=claims, count=st.integers(2, 3))
    def begin(self, count: int) -> Any:
        for _ in range(count):
            self.open()
        return multiple(*(self.made(owner) for owner in list(self.handles)[:2]))

    def made(self, owner: str) -> Claim:
        """The claim on a plain new run."""
        row = RunRow(new_run_id(), "tea", "running", 1, owner, 1, 1_000)
        first: list[Event] = [RunStarted("tea", run_id=row.id, at_us=row.created_at, seq=1)]
        self.model.create(row, first, None)
        self.ask(self.handles[owner].create(row, first, definition=None))
        self.ids.append(row.id)
        return self.held(Claim(row.id, 1, 1), owner)

    def open(self) -> None:
        self.opened += 1
        owner = f"owner-{self.opened}"
        self.handles[owner] = self.runner.run(self.place.open(owner))
        if self.place.ends:
            self.model.alive.add(owner)
        else:
            self.model.alive |= {f"owner-{n}" for n in range(1, self.opened + 1)}

    @rule(draw=st.integers(0, 5))
    def end_and_open_another(self, draw: int) -> None:
        """A process ends by itself, and another begins."""
        owner = list(self.handles)[draw % len(self.handles)]
        self.runner.run(self.place.close(self.handles.pop(owner)))
        if self.place.ends:
            self.model.alive.discard(owner)
        self.open()

    # Runs

    @precondition(lambda self: len(self.model.runs) < MOST_RUNS)
    @rule(
        target=claims,
        draw=st.integers(0, 5),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
        inputs=st.sampled_from(["i1", "i2"]),
        sha=st.sampled_from(["", "sha-a", "sha-b"]),
        tags=st.sampled_from([(), ("red",), ("red", "blue")]),
        workflow=st.sampled_from(["tea", "soup"]),
        is_owned=st.sampled_from([True, True, False]),
        again=st.booleans(),
    )
    def create(
        self, draw: int, key: str | None, inputs: str, sha: str, tags: tuple[str, ...], workflow: str, is_owned: bool,
        again: bool,
    ) -> Any:  # fmt: skip
        owner = list(self.handles)[draw % len(self.handles)]
        row = RunRow(
            new_run_id(), workflow, "running", 1, owner if is_owned else None, 1, 1_000 + len(self.ids),
            idempotency_key=key, definition_sha=sha, inputs_sha=inputs, tags=tags,
        )  # fmt: skip
        first: list[Event] = [RunStarted(workflow, run_id=row.id, at_us=row.created_at, seq=1)]
        wanted = self.model.create(row, first, BODIES.get(sha))
        for _ in range(2 if again else 1):  # the second time as if the first reply was lost
            found = self.ask(self.handles[owner].create(row, first, definition=BODIES.get(sha)))
            self.same(found.id if isinstance(found, RunRow) else found, wanted, "create()")
        if wanted != row.id:
            return multiple()
        self.ids.append(row.id)
        return self.held(Claim(row.id, 1, 1), owner) if is_owned else multiple()

    @rule(
        claim=claims,
        size=st.integers(0, 3),
        status=st.sampled_from([None, None, None, *STATUSES]),
        paid=st.booleans(),
        consume=st.integers(0, 2),
        wake=st.sampled_from([None, -HOUR_US, HOUR_US]),
        again=st.booleans(),
        behind=st.sampled_from([0, 0, 0, 1]),
    )
    def append(
        self, claim: Claim, size: int, status: str | None, paid: bool, consume: int, wake: int | None, again: bool,
        behind: int,
    ) -> None:  # fmt: skip
        run, store = self.model.runs.get(claim.run_id), self.handle_of(claim)
        if store is None:
            return
        given = replace(claim, last_seq=max(0, claim.last_seq - behind))
        unit = self.unit(given, size, paid)
        inbox = list(run.inbox.values()) if run is not None and run.epoch == claim.epoch else []
        wake_at = now_us() + wake if wake is not None and status == "waiting" else None
        consumed = inbox[:consume]
        wanted = self.model.append(given, unit, status=status, consumed=consumed, wake_at=wake_at)
        for _ in range(2 if again and unit else 1):
            answer = self.ask(store.append(replace(given), unit, status=status, consumed=consumed, wake_at=wake_at))
            found = answer if isinstance(answer, str) else (answer.last_seq, answer.inbox)
            self.same(found, wanted, f"append({given}, {size} events, status={status!r})")
        if not isinstance(wanted, str):
            claim.last_seq = max(claim.last_seq, wanted[0])

    def unit(self, claim: Claim, size: int, paid: bool) -> list[Event]:
        at = {"run_id": claim.run_id, "at_us": 5_000_000}
        first = claim.last_seq + 1
        self.units += 1
        text = f"unit {self.units}"  # no two are alike, so that only what is given again is the same
        events: list[Event] = [Warned(None, "note", text, seq=first + n, **at) for n in range(size)]  # type: ignore[arg-type]  # fields of events
        if paid:
            usage = Usage(3, 1, requests=1)
            step, call = f"step-{first % 3}", claim.epoch
            seq = first + size
            events.append(CallFinished(step, call, usage=usage, seq=seq, **at))  # type: ignore[arg-type]  # as above
            events.append(StepSucceeded(step, text, seq=seq + 1, **at))  # type: ignore[arg-type]  # as above
        return events

    def held(self, claim: Claim, owner: str) -> Claim:
        """A claim that this owner got; its handle is the one to use it."""
        self.holders[claim.run_id, claim.epoch] = owner
        return claim

    def handle_of(self, claim: Claim) -> RunStore | None:
        """The handle that got the claim; None when its process has ended: claims are not handed on."""
        return self.handles.get(self.holders[claim.run_id, claim.epoch])

    @rule(target=claims, draw=st.integers(0, 40), who=st.integers(0, 5), takeover=st.sampled_from([False, False, True]))
    def claim(self, draw: int, who: int, takeover: bool) -> Any:
        run_id, owner = self.run_id(draw), list(self.handles)[who % len(self.handles)]
        wanted = self.model.claim(run_id, owner, takeover=takeover)
        found = self.ask(self.handles[owner].claim(run_id, owner, takeover=takeover))
        self.same(found, wanted, f"claim({run_id}, {owner}, takeover={takeover})")
        return multiple() if isinstance(wanted, str) else self.held(wanted, owner)

    @rule(target=claims, draw=st.integers(0, 40))
    def claim_at_once(self, draw: int) -> Any:
        """All handles claim one run at the same time: one wins if the run is free."""
        run_id = self.run_id(draw)
        run = self.model.runs.get(run_id)
        if run is None:
            return multiple()
        is_free = run.owner not in self.model.alive

        async def all_of_them() -> list[Any]:
            asked = [store.claim(run_id, owner) for owner, store in self.handles.items()]
            return await asyncio.gather(*asked, return_exceptions=True)

        ends = self.runner.run(all_of_them())
        won = [owner for owner, end in zip(self.handles, ends, strict=True) if isinstance(end, Claim)]
        assert all(isinstance(end, Claim | ClaimLost) for end in ends), ends
        self.same(len(won), int(is_free), "claims at once: the number that won")
        if not won:
            return multiple()
        wanted = self.model.claim(run_id, won[0], takeover=False)
        self.same(next(end for end in ends if isinstance(end, Claim)), wanted, "the claim that won")
        first = next(iter(self.handles))  # who won differs from time to time, and what is drawn may not
        taken = self.model.claim(run_id, first, takeover=True)
        self.same(self.ask(self.handles[first].claim(run_id, first, takeover=True)), taken, "claim() after a race")
        assert isinstance(taken, Claim)
        return self.held(taken, first)

    @rule(claim=claims, status=st.sampled_from(STATUSES))
    def renew_and_release(self, claim: Claim, status: str) -> None:
        store = self.handle_of(claim)
        if store is None:
            return
        self.same(self.ask(store.renew(replace(claim))), self.model.renew(claim), f"renew({claim})")
        wanted = self.model.release(claim, status)
        self.same(self.ask(store.release(replace(claim), status=status)), wanted, f"release({claim}, {status!r})")

    @rule(
        draw=st.integers(0, 40),
        who=st.integers(0, 5),
        kind=st.sampled_from(["answer", "cancel", "wake"]),
        step=st.sampled_from(["", "ask", "ask[0]"]),
        data=st.sampled_from([None, "yes", {"n": [1, 2**70]}]),
    )
    def post(self, draw: int, who: int, kind: str, step: str, data: Any) -> None:
        run_id = self.run_id(draw)
        item = InboxItem(kind, step, 0, data, 7, f"person {who}")
        wanted = self.model.post(run_id, item)
        self.same(self.ask(self.handle(who).post(run_id, item)), wanted, f"post({run_id}, {item})")

    @rule(draw=st.integers(0, 40), who=st.integers(0, 5), really=st.integers(0, 4))
    def delete(self, draw: int, who: int, really: int) -> None:
        run_id = self.run_id(draw) if really == 4 else "nonesuch"
        wanted = self.model.delete(run_id)
        self.same(self.ask(self.handle(who).delete_run(run_id)), wanted, f"delete_run({run_id})")

    # Reading

    @rule(what=st.sampled_from(["recoverable", "definition", "page"]), who=st.integers(0, 5), n=st.integers(0, 40))
    def read(self, what: str, who: int, n: int) -> None:
        store = self.handle(who)
        match what:
            case "recoverable":
                self.recoverable(store, 1 + n % 5)
            case "definition":
                self.definition(store)
            case _:
                self.page(store, self.run_id(n), after=n % 7, limit=1 + n % 4)

    @rule(
        who=st.integers(0, 5),
        workflow=st.sampled_from([None, "tea"]),
        status=st.sampled_from([None, "running", "failed"]),
        tag=st.sampled_from([None, "red", "blue"]),
        since=st.sampled_from([None, 1_003]),
        limit=st.integers(1, 5),
        before=st.integers(0, 40),
    )
    def list_runs(
        self, who: int, workflow: str | None, status: str | None, tag: str | None, since: int | None, limit: int,
        before: int,
    ) -> None:  # fmt: skip
        until = self.run_id(before) if before < len(self.ids) else None
        wanted = [
            run_id
            for run_id, run in sorted(self.model.runs.items(), reverse=True)
            if workflow in (None, run.row.workflow)
            and status in (None, run.status)
            and (tag is None or tag in run.row.tags)
            and (since is None or run.row.created_at >= since)
            and (until is None or run_id < until)
        ][:limit]
        found = self.ask(
            self.handle(who).list_runs(
                workflow=workflow, status=status, tag=tag, since=since, limit=limit, before=until
            )
        )
        self.same([row.id for row in found], wanted, "list_runs()")  # type: ignore[union-attr]  # no error is known

    def recoverable(self, store: RunStore, limit: int) -> None:
        now = now_us()
        found = self.ask(store.recoverable(now=now, limit=limit))
        self.same([row.id for row in found], self.model.recoverable(now)[:limit], "recoverable()")  # type: ignore[union-attr]  # as above

    def definition(self, store: RunStore) -> None:
        for sha in ("sha-a", "sha-b", "sha-c"):
            self.same(self.ask(store.definition(sha)), self.model.definition(sha), f"definition({sha!r})")

    def page(self, store: RunStore, run_id: str, *, after: int, limit: int) -> None:
        run = self.model.runs.get(run_id)
        wanted = "RunNotFound" if run is None else run.events[after : after + limit]
        found = self.ask(store.events(run_id, after=after, limit=limit))
        self.same(found if isinstance(found, str) else list(found), wanted, "events()")

    @invariant()
    def every_handle_shows_what_the_model_shows(self) -> None:
        """One run in turn, from every handle: all of them each time would take too long."""
        if not self.ids:
            return
        run_id = self.ids[-1 - (self.opened + len(self.ids)) % min(3, len(self.ids))]
        for store in dict.fromkeys(self.handles.values()):
            self.compare(store, run_id)

    def compare(self, store: RunStore, run_id: str) -> None:
        run = self.model.runs.get(run_id)
        row = self.ask(store.load(run_id))
        if run is None or isinstance(row, str):
            self.same(row, "RunNotFound" if run is None else "a row", f"load({run_id})")
            return
        wanted = run.seen(self.model.alive)
        found = {name: getattr(row, name) for name in wanted if name != "finished"}
        self.same(found | {"finished": row.finished_at is not None}, wanted, f"load({run_id})")
        if run.recoveries is not None:
            self.same(row.recoveries, run.recoveries, f"load({run_id}).recoveries")
        inbox = self.ask(store.inbox(run_id))
        self.same([key_of(item) for item in inbox], list(run.inbox), f"inbox({run_id})")  # type: ignore[arg-type, union-attr]  # as above
        for item in inbox:
            if isinstance(item, InboxItem) and item.kind == "late":
                self.same([event.run_id for event in late_events(item)], [run_id] * 2, "a late answer")
            else:
                self.same(item, run.inbox[key_of(item)], "an item")  # type: ignore[arg-type]  # as above

    def teardown(self) -> None:
        try:
            for run_id in self.ids:
                for store in dict.fromkeys(self.handles.values()):
                    self.compare(store, run_id)
                    run = self.model.runs.get(run_id)
                    log = self.ask(store.events(run_id, limit=10_000))
                    self.same(
                        log if isinstance(log, str) else list(log), run.events if run else "RunNotFound", "events()"
                    )
            for run_id in list(self.model.runs):
                self.model.delete(run_id)
                self.ask(self.handle(0).delete_run(run_id))
                self.definition(self.handle(0))
        finally:
            for store in self.handles.values():
                self.runner.run(self.place.close(store))
            self.runner.close()
            self.place.throw_away()


@pytest.mark.parametrize("kind", WORLDS)
def test_any_sequence_of_calls_gives_what_a_model_of_dicts_gives(kind: str, pytestconfig: pytest.Config) -> None:
    if kind == "postgres":
        InPostgres.url = url_of(kind, Path(), pytestconfig)
    given = os.environ.get("MACHINE_SEED", "")
    seed = int(given) if given else random.SystemRandom().randrange(2**32) if LONG else 1
    machine = type("Machine", (StoreMachine,), {"world": WORLDS[kind]})
    chosen = settings(
        max_examples=EXAMPLES[kind],
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_machine(hypothesis.seed(seed)(machine), settings=chosen)
    except AssertionError as error:
        raise AssertionError(f"MACHINE_SEED={seed}: {error}") from error
