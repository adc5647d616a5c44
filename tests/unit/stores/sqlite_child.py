"""A process of its own for the tests of the SQLite store: `python sqlite_child.py VERB DATABASE ...`."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable

import anyio

from llmorch import ClaimLost, RunStarted, StoreError, Warned
from llmorch.ports import Claim, InboxItem, RunRow
from llmorch.stores.sqlite import SqliteStore

TEXT = "x" * 1_000


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def note(run_id: str, seq: int) -> Warned:
    return Warned(None, "note", f"{seq} {TEXT}", run_id=run_id, seq=seq)


async def create(store: SqliteStore, run_id: str) -> None:
    row = RunRow(run_id, "w", "running", 1, store.owner, 1, 1_000)
    await store.create(row, [RunStarted("w", run_id=run_id, seq=1)])


async def own(path: str, run_id: str) -> None:
    """Own a run until somebody closes standard input."""
    store = SqliteStore(path)
    await create(store, run_id)
    say("owned")
    await anyio.to_thread.run_sync(sys.stdin.read)
    await store.aclose()


async def claim(path: str, run_id: str) -> None:
    store = SqliteStore(path)
    try:
        taken = await store.claim(run_id, store.owner)
        say("claimed", taken.epoch, taken.last_seq)
    except ClaimLost:
        say("lost")
    await store.aclose()


async def race(path: str, *run_ids: str) -> None:
    """Claim each run, and say which were got; keep them until standard input is closed."""
    store = SqliteStore(path)
    say("ready")
    await anyio.to_thread.run_sync(sys.stdin.readline)
    won: list[str] = []
    for run_id in run_ids:
        try:
            await store.claim(run_id, store.owner)
            won.append(run_id)
        except ClaimLost:
            pass
    say(json.dumps(won))
    await anyio.to_thread.run_sync(sys.stdin.read)
    await store.aclose()


def inherit(path: str, run_id: str) -> None:
    """Own a run, fork, and be killed: the child, which lives on, may not keep the lock."""

    async def work() -> None:
        store = SqliteStore(path)
        await create(store, run_id)
        if os.fork() == 0:
            try:
                store.load(run_id).send(None)
            except StoreError as error:
                say("refused" if "forked" in str(error) else "wrong", os.getpid())
            sys.stdin.read()
            os._exit(0)
        await anyio.sleep_forever()

    anyio.run(work)


async def write(path: str, run_id: str) -> None:
    """Take the run over and write to it for ever, with some items left and taken, saying what is committed."""
    store = SqliteStore(path, durability=random.choice(["power", "process"]))
    mine = await store.claim(run_id, store.owner)
    left = list(await store.inbox(run_id))
    while True:
        size = random.choice([1, 1, 2, 5])
        unit = [note(run_id, seq) for seq in range(mine.last_seq + 1, mine.last_seq + 1 + size)]
        item = InboxItem("wake", f"epoch {mine.epoch}", mine.last_seq + 1)
        await store.post(run_id, item)
        reply = await store.append(mine, unit, consumed=[item, *left])
        left.clear()
        mine = Claim(run_id, mine.epoch, reply.last_seq)
        say(reply.last_seq)


def fault_of(path: str, run_id: str, acknowledged: int) -> str:
    """What is wrong with the file after a kill."""

    async def look() -> str:
        store = SqliteStore(path)
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

    with sqlite3.connect(path) as raw:
        (found,) = raw.execute("PRAGMA integrity_check").fetchone()
    raw.close()
    return anyio.run(look) if found == "ok" else str(found)


def storm(path: str, seed: str, kills: str) -> None:
    """Kill a writing process again and again at a random instant, and look at the file each time."""
    draw = random.Random(int(seed))
    pid = os.fork()
    if pid == 0:  # the first owner dies too
        anyio.run(_created, path)
        os._exit(0)
    os.waitpid(pid, 0)
    acknowledged = 1
    for kill in range(int(kills)):
        heard, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            random.seed(draw.random() + kill)
            os.dup2(said, 1)
            os.close(heard)
            anyio.run(write, path, "run")
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
        lines = text.split(b"\n")[:-1]
        acknowledged = max([acknowledged, *map(int, lines)])
        if fault := fault_of(path, "run", acknowledged):
            say(f"kill {kill}: {fault}")
            return
    say("ok", acknowledged)


async def _created(path: str) -> None:
    store = SqliteStore(path)
    await create(store, "run")
    await store.aclose()


VERBS: dict[str, Callable[..., Awaitable[None]]] = {"own": own, "claim": claim, "race": race}

if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "storm":
        storm(*rest)
    elif verb == "inherit":
        inherit(*rest)
    else:
        anyio.run(VERBS[verb], *rest)
