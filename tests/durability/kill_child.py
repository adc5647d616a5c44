"""What a process of the kill tests does: start a fixture on a store, or go on with it, until it is killed or done."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio

from llmorch import Orchestrator, Price, Run, RunHandle, RunWaiting
from llmorch._json import dumps
from llmorch.ports import Call, Proceed, ProviderResponse, RunStore
from llmorch.providers import OpenAI
from tests.durability.bugs import BUGS
from tests.durability.kill_fixtures import FIXTURES, SCRIPTS

__all__ = ["Orders", "Outcome", "run_child", "store_of"]

_STUCK_S = 50
_LEASE_S = 0.4
_SET_PTRACER = 0x59616D61


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process is to do.

    Attributes:
        case: The ledger's word for it.
        life: Which process of the case it is, from 1.
        url: The store's.
        run_id: Of the run to go on with; None starts it.
        is_over: The run has ended; only its result is read.
        by_recovery: Let the orchestrator find the run by itself, instead of naming it.
        edition: What stands behind each prompt of the workflow as this process knows it.
        is_watched: Follow the events, so that answers are streamed.
        last_line: Kill yourself after so many lines of notes; 0 is never.
        bug: Name of a bug to put into the engine or store first.
        gate: A FIFO to be opened before anything is done.
        answers: Do nothing but answer questions: those that are open, or whatever comes up until the file `enough` is
            there.
    """

    case: str
    life: int
    fixture: str
    folder: str
    url: str
    port: int
    backend: str = "asyncio"
    durability: Literal["power", "process"] = "power"
    run_id: str | None = None
    is_over: bool = False
    by_recovery: bool = False
    edition: str = ""
    is_watched: bool = False
    last_line: int = 0
    bug: str | None = None
    gate: str | None = None
    answers: Literal["", "open", "all"] = ""

    def written(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, in plain data that is the same for equal runs."""

    status: str
    output: str | None
    steps: Mapping[str, tuple[str, str, str | None]]
    lines: int


class _Notes:
    """A file to which a line is appended for whatever happens outside of the store."""

    def __init__(self, orders: Orders) -> None:
        self.edition = orders.edition
        self._life = orders.life
        self._last_line = orders.last_line
        self._file = os.open(
            Path(orders.folder) / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self.lines = 0

    def ran(self, what: str, step: str) -> None:
        os.write(self._file, f"{self._life} {what} {step}\n".encode())
        self.lines += 1
        if self.lines == self._last_line:
            os.kill(os.getpid(), signal.SIGKILL)


class _Marking:
    """Puts the sender into each request, and a note before and after it."""

    def __init__(self, orders: Orders, notes: _Notes) -> None:
        self._about = {"case": orders.case, "life": orders.life, "pid": os.getpid()}
        self._notes = notes

    async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
        self._notes.ran("sends", call.step)
        extra = {**call.request.extra, "ledger": {**self._about, "step": call.step, "call": call.call}}
        response = await proceed(replace(call, request=replace(call.request, extra=extra)))
        self._notes.ran("got", call.step)
        return response


def run_child(orders: Orders) -> None:
    """Carry the orders out; what is left in the folder afterwards is `outcome`, unless it was killed."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(_STUCK_S, exit=True)
    if orders.gate is not None:
        _wait_at(orders.gate)
    for name, value in (("CASE", orders.case), ("LIFE", str(orders.life)), ("FOLDER", orders.folder)):
        os.environ[f"KILL_{name}"] = value  # for scripts
    if orders.bug is not None:
        BUGS[orders.bug]()
    anyio.run(_carry_out, orders, backend=orders.backend)
    faulthandler.cancel_dump_traceback_later()


def _wait_at(gate: str) -> None:
    """Let anybody trace this process, and wait until somebody opens the FIFO for writing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # Ubuntu allows it to parents only
    with open(gate, "rb") as opened:
        opened.read(1)


async def _carry_out(orders: Orders) -> None:
    fixture, notes = FIXTURES[orders.fixture], _Notes(orders)
    flow = fixture.make(notes)
    provider = OpenAI(base_url=f"http://127.0.0.1:{orders.port}/v1", name="ledger")
    async with Orchestrator(
        store_of(orders),
        durability=orders.durability,
        recover="own" if orders.by_recovery else False,
        model="ledger:m",
        providers=[provider],
        prices={"ledger:m": Price(3, 15)},
        hooks=[_Marking(orders, notes)],
        budget=fixture.budget,
        workflows=[flow],
        scripts=[SCRIPTS],
        concurrency=fixture.concurrency,
    ) as orchestrator:
        handle: RunHandle[Any]
        if orders.run_id is None:
            handle = await orchestrator.start(flow, fixture.inputs)
            _append(Path(orders.folder) / "ids", handle.id)
        elif orders.is_over or orders.by_recovery:
            handle = orchestrator.attach(orders.run_id)
        else:
            handle = await orchestrator.resume(orders.run_id)
        if orders.is_watched:
            async for event in handle.events():
                if isinstance(event, RunWaiting):
                    break
        run = await handle.result()
        if run.status == "waiting":
            return  # it needs no process until somebody answers
        outcome = Path(orders.folder) / "outcome.new"
        outcome.write_text(json.dumps(asdict(_outcome(run, notes.lines))), encoding="ascii")
    outcome.rename(outcome.with_name("outcome"))


def store_of(orders: Orders) -> str | RunStore:
    """The URL; for a schema of PostgreSQL, behind `#`, a store whose leases are soon over."""
    url, _, schema = orders.url.partition("#")
    if not schema:
        return url
    from llmorch.stores.sqlalchemy import SqlAlchemyStore

    return SqlAlchemyStore(url, schema=schema, durability=orders.durability, lease_s=_LEASE_S, renew_s=_LEASE_S / 4)


def _outcome(run: Run[Any], lines: int) -> Outcome:
    steps: dict[str, tuple[str, str, str | None]] = {}
    for path, result in run.steps.items():
        error = None if result.error is None else f"{type(result.error).__name__}: {result.error}"
        steps[path] = (result.status, dumps(None if result.state is None else result.state.value), error)
    output = dumps(run.output) if run.status in ("succeeded", "partial") else None
    return Outcome(run.status, output, steps, lines)


def _append(path: Path, line: str) -> None:
    written = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(written, f"{line}\n".encode())
    os.close(written)
