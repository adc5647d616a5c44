"""Forks processes that carry out numbered runs together: `python -m tests.durability.processes_child JSON`.

Each line of standard input has one more process forked, whose id is written to standard output; they share nothing but
the store. At the line `end`, or the end of the input, it waits for all of them.
"""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio

from llmorch import ClaimLost, Orchestrator, RunNotFound, StoreError
from llmorch.ports import RunStore
from tests.durability.faults_wait import until_asked
from tests.durability.processes_flow import MODEL, Shared, note, opened, workflow

FINAL = ("succeeded", "partial", "failed", "cancelled")
AT_ONCE = 2
LOOK_S = 0.1


@dataclass(frozen=True)
class Task:
    """What all processes are to do.

    Attributes:
        folder: Holds what they note: `sent`, `written` and `lost`, and in `stopped` the owners to take runs from.
        runs: How many runs there are to be.
    """

    url: str
    folder: Path
    runs: int
    seed: int
    lease_s: float


class Noting:
    """A store that notes each claim and each unit it has committed."""

    def __init__(self, inner: RunStore, folder: Path) -> None:
        self._inner = inner
        self._path = folder / "written"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Any:
        claim = await self._inner.claim(run_id, owner, takeover=takeover)
        note(self._path, f"{run_id} {claim.epoch} {claim.last_seq} {claim.last_seq}")
        return claim

    async def append(self, claim: Any, events: Any, **named: Any) -> Any:
        before, epoch = claim.last_seq, claim.epoch
        reply = await self._inner.append(claim, events, **named)
        note(self._path, f"{claim.run_id} {epoch} {before} {reply.last_seq}")
        return reply


async def carry_out(task: Task) -> None:
    """Start every run that nobody has started, see all of them to their end, and go on with what others left."""
    owner = f"child-{os.getpid()}"
    store = opened(task.url, owner=owner, lease_s=task.lease_s)
    numbers = list(range(task.runs))
    random.Random(task.seed + os.getpid()).shuffle(numbers)
    flow = workflow()
    provider = Shared(task.folder)
    async with Orchestrator(
        cast("RunStore", Noting(store, task.folder)), providers=[provider], model=MODEL, workflows=[flow]
    ) as orch:

        async def work() -> None:
            while numbers:
                n = numbers.pop()
                handle = await orch.start(flow, n=n, idempotency_key=f"run-{n}")
                try:
                    await handle.result()
                except ClaimLost:
                    note(task.folder / "lost", f"{n} {os.getpid()}")
                await until_asked(partial(has_ended, store, handle.id), look_s=LOOK_S)

        async def look() -> None:
            while True:
                await anyio.sleep(LOOK_S)
                with suppress(StoreError):
                    await orch.recover()
                    await take_from_stopped(orch, store, task.folder)

        async with anyio.create_task_group() as lookers:
            lookers.start_soon(look)
            async with anyio.create_task_group() as workers:
                for _ in range(AT_ONCE):
                    workers.start_soon(work)
            lookers.cancel_scope.cancel()


async def has_ended(store: RunStore, run_id: str) -> bool:
    """Whether the run has ended, wherever it is carried out."""
    return (await store.load(run_id)).status in FINAL


async def take_from_stopped(orch: Orchestrator, store: RunStore, folder: Path) -> None:
    """Take over the runs of the owners that the test has stopped."""
    stopped = set(os.listdir(folder / "stopped"))
    if not stopped or f"child-{os.getpid()}" in stopped:
        return
    for row in await store.list_runs(status="running", limit=1000):
        if row.owner in stopped:
            with suppress(ClaimLost, RunNotFound):
                await orch.takeover(row.id)


def main() -> None:
    """Fork on command."""
    given = json.loads(sys.argv[1])
    task = Task(given["url"], Path(given["folder"]), given["runs"], given["seed"], given["lease_s"])
    for count, line in enumerate(sys.stdin):
        if line.strip() == "end":
            break
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(0)
                os.close(1)
                anyio.run(carry_out, task, backend=("asyncio", "trio")[count % 2])
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
    with suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main()
