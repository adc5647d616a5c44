"""A process of its own for the tests of the PostgreSQL store: `python postgres_child.py VERB URL SCHEMA ...`."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

import anyio

from llmorch import CallFinished, ClaimLost, RunNotFound, RunStarted, StepSucceeded, StoreError, Warned
from llmorch.ports import Claim, InboxItem, RunRow
from llmorch.stores.sqlalchemy import SqlAlchemyStore

TEXT = "x" * 1_000


def store_at(url: str, schema: str) -> SqlAlchemyStore:
    return SqlAlchemyStore(url, schema=schema, lease_s=1.0, renew_s=0.3)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def told() -> None:
    await anyio.to_thread.run_sync(sys.stdin.readline)


async def create(store: SqlAlchemyStore, run_id: str) -> None:
    row = RunRow(run_id, "w", "running", 1, store.owner, 1, 1_000)
    await store.create(row, [RunStarted("w", run_id=run_id, seq=1)])


async def open_first(url: str, schema: str) -> None:
    """Open a database that nobody has opened before."""
    store = store_at(url, schema)
    say("ready")
    await told()
    try:
        await store.load("nobody")
    except RunNotFound:
        say("opened")
    await store.aclose()


async def own(url: str, schema: str, run_id: str) -> None:
    """Own a run; when told to, write a paid answer to its log, and say what came of it."""
    store = store_at(url, schema)
    await create(store, run_id)
    say("owned", store.owner)
    await told()
    unit = [CallFinished("draft", 1, run_id=run_id, seq=2), StepSucceeded("draft", "Tea.", run_id=run_id, seq=3)]
    try:
        await store.append(Claim(run_id, 1, 1), unit)
        say("written")
    except ClaimLost as error:
        say(f"lost: {error}")
    await store.aclose()


async def leave(url: str, schema: str, run_id: str) -> None:
    """Own a run for half a minute, and end without closing the store."""
    await create(SqlAlchemyStore(url, schema=schema), run_id)


async def stop_inside(url: str, schema: str, run_id: str) -> None:
    """Own a run, and be stopped in the middle of the transaction that writes its second event."""
    store = store_at(url, schema)
    await create(store, run_id)
    say("owned", store.owner)
    session = store._parts.writer._link.session
    assert session is not None
    commit = session.commit

    def stop_first() -> None:
        say("inside")
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # before this thread does anything more
        commit()

    session.commit = stop_first  # type: ignore[method-assign]
    try:
        await store.append(Claim(run_id, 1, 1), [Warned(None, "note", TEXT, run_id=run_id, seq=2)])
        say("written")
    except ClaimLost:
        say("lost")
    await store.aclose()


async def race(url: str, schema: str, *run_ids: str) -> None:
    """Claim each run, and say which were got."""
    store = store_at(url, schema)
    say("ready")
    await told()
    won: list[str] = []
    for run_id in run_ids:
        try:
            await store.claim(run_id, store.owner)
            won.append(run_id)
        except ClaimLost:
            pass
    say(json.dumps(won))
    await told()
    await store.aclose()


def inherit(url: str, schema: str, run_id: str) -> None:
    """Fork while a store is in use: the child may not use it, and its end does the parent's connections no harm."""

    async def work() -> None:
        store = store_at(url, schema)
        await create(store, run_id)
        pid = os.fork()
        if pid == 0:
            try:
                store.load(run_id).send(None)
                say("used")
            except StoreError as error:
                say("refused" if "forked" in str(error) else "wrong")
            vars(store).clear()
            gc.collect()
            os._exit(0)
        await anyio.to_thread.run_sync(os.waitpid, pid, 0)
        say(len(await store.events(run_id)))
        await store.aclose()

    anyio.run(work)


async def write(url: str, schema: str, run_id: str) -> None:
    """Take the run over and write to it for ever, with some items left and taken, saying what is committed."""
    store = store_at(url, schema)
    mine = await store.claim(run_id, store.owner, takeover=True)
    left = list(await store.inbox(run_id))
    while True:
        size = random.choice([1, 1, 2, 5])
        seqs = range(mine.last_seq + 1, mine.last_seq + 1 + size)
        item = InboxItem("wake", f"epoch {mine.epoch}", mine.last_seq + 1)
        await store.post(run_id, item)
        unit = [Warned(None, "note", TEXT, run_id=run_id, seq=seq) for seq in seqs]
        reply = await store.append(mine, unit, consumed=[item, *left])
        left.clear()
        mine = Claim(run_id, mine.epoch, reply.last_seq)
        say(reply.last_seq)


async def fault_of(url: str, schema: str, run_id: str, acknowledged: int) -> str:
    """What is wrong with the run after a kill."""
    store = store_at(url, schema)
    try:
        row = await store.load(run_id)
        seqs = [event.seq for event in await store.events(run_id, limit=1_000_000)]
        left = await store.inbox(run_id)
    finally:
        await store.aclose()
    if seqs != list(range(1, row.last_seq + 1)):
        return f"the seqs are {seqs}, the row says {row.last_seq}"
    if row.last_seq < acknowledged:
        return f"{acknowledged} was acknowledged, {row.last_seq} is there"
    return "" if len(left) <= 1 else f"{len(left)} items are left of units that were committed"


def storm(url: str, schema: str, seed: str, kills: str) -> None:
    """Kill a writing process again and again at a random instant, and look at its run each time."""
    draw = random.Random(int(seed))

    async def begin() -> None:
        store = store_at(url, schema)
        await create(store, "run")
        await store.aclose()

    anyio.run(begin)
    acknowledged = 1
    for kill in range(int(kills)):
        heard, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            random.seed(draw.random() + kill)
            os.dup2(said, 1)
            os.close(heard)
            anyio.run(write, url, schema, "run")
            os._exit(1)
        os.close(said)
        text = b""
        wanted = draw.randrange(0, 25)
        while text.count(b"\n") < wanted and (more := os.read(heard, 65536)):
            text += more
        signal.sigtimedwait([], draw.random() * 0.01)
        os.kill(pid, signal.SIGKILL)
        while more := os.read(heard, 65536):
            text += more
        os.close(heard)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            say(f"kill {kill}: the writer ended by itself")
            return
        acknowledged = max([acknowledged, *map(int, text.split(b"\n")[:-1])])
        if fault := anyio.run(fault_of, url, schema, "run", acknowledged):
            say(f"kill {kill}: {fault}")
            return
    say("ok", acknowledged)


VERBS: dict[str, Callable[..., Awaitable[None]]] = {
    "leave": leave, "open": open_first, "own": own, "stop": stop_inside, "race": race,
}  # fmt: skip

if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "storm":
        storm(*rest)
    elif verb == "inherit":
        inherit(*rest)
    else:
        anyio.run(VERBS[verb], *rest)
