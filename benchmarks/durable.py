"""What a durable step costs, beside raw sqlite3 writing the same rows: time added, a lone chain, bytes on disk.

The files lie in the temporary folder: where that is kept in memory, set TMPDIR to a folder on a disk.
"""

from __future__ import annotations

import asyncio
import math
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from llmorch import Orchestrator, Workflow
from llmorch.stores.sqlite.store import SqliteStore

from .floors import TASK, tasks
from .measure import best_cpu, best_wall
from .table import Result, Target, spaced

__all__ = ["durable"]

_TEXT = 'She said: "tea, please".\nThen it rained, and nobody minded in the least. '
_KILOBYTE = (_TEXT * 15)[:1024]
_WIDTHS = ((32, 40, 40), (256, 25, 12))  # runs at once, steps of each, repeats
_LONE, _LONE_REPEATS = 200, 40  # so long that beginning and ending the run, which the floor has not, do not count
_LENGTHS = (1_000, 10_000)
_TASKS = 1_000
_MEMORY = "memory store"
Durability = Literal["process", "power"]
Unit = tuple[int, list[tuple[Any, ...]]]  # the run's number, and rows of its events. Any: columns
Work = Callable[[], Awaitable[None]]
_numbers = count()


async def kilobyte(before: str) -> str:
    """A step whose result is 1 KB, another text each time, and whose start is committed before it runs."""
    return f"{next(_numbers):08}{_KILOBYTE[8:]}"


def _chain(length: int) -> Workflow[Any]:
    workflow: Workflow[Any] = Workflow("durable")
    last: Any = ""
    for index in range(length):
        last = workflow.add(kilobyte, name=f"s{index}", before=last)
    return workflow


async def durable() -> list[Result]:
    """Runs of a chain of steps of 1 KB each: many at once, one alone, and what they leave on disk."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        results: list[Result] = []
        for durability in ("process", "power"):
            for runs, length, repeats in _WIDTHS:
                results += await _at_once(place, durability, runs, length, repeats=repeats)
            results += await _alone(place, durability)
        return results + await _bytes(place)


def _running(orchestrator: Orchestrator, workflow: Workflow[Any], runs: int, *, is_kept: bool = True) -> Work:
    async def one() -> None:
        done = await orchestrator.run(workflow)
        assert done.status == "succeeded", done.error
        if not is_kept:
            await orchestrator.delete(done.id)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(runs):
                group.create_task(one())

    return run


async def _at_once(place: Path, durability: Durability, runs: int, length: int, *, repeats: int) -> list[Result]:
    workflow, steps = _chain(length), runs * length
    async with Orchestrator(store=_store(place, durability)) as lasting, Orchestrator() as fleeting:
        ours = _running(lasting, workflow, runs)
        memory = _running(fleeting, workflow, runs, is_kept=False)  # else the memory store keeps them all
        await ours()
        await memory()
        log = await _log(place, workflow, runs)
        with _raws(place, log, durability, 2 * repeats) as raw:
            works = (ours, memory, raw, partial(tasks, _TASKS))
            *wall, tasks_wall = await best_wall(repeats, *works)
            *cpu, tasks_cpu = await best_cpu(repeats, *works)
        wall, cpu = ([s / steps * 1e6 for s in seconds] for seconds in (wall, cpu))
        task_wall, task_cpu = (s / _TASKS * 1e6 for s in (tasks_wall, tasks_cpu))
    row = f"durable step of 1 KB, {runs} runs at once, {durability}"
    against = f"sqlite3, same rows, {runs} units a commit"
    return [
        Result(f"{row}, added, wall", wall[0] - wall[1], "us", task_wall, TASK, Target(90)),
        Result(f"{row}, added, CPU", cpu[0] - cpu[1], "us", task_cpu, TASK),
        Result(f"{row}, wall", wall[0], "us", wall[1], _MEMORY),
        Result(f"{row}, wall", wall[0], "us", wall[2], against),
        Result(f"{row}, CPU", cpu[0], "us", cpu[1], _MEMORY),
        Result(f"{row}, CPU", cpu[0], "us", cpu[2], against),
    ]


async def _alone(place: Path, durability: Durability) -> list[Result]:
    """Each step of the chain waits for a commit, and nothing else is there to share it."""
    workflow = _chain(_LONE)
    async with Orchestrator(store=_store(place, durability)) as lasting:
        ours = _running(lasting, workflow, 1)
        await ours()
        log = await _log(place, workflow, 1)
        with (
            _raws(place, log, durability, _LONE_REPEATS) as raw,
            _raws(place, log, durability, _LONE_REPEATS, on_thread=True) as awaited,
        ):
            *walls, tasks_wall = await best_wall(_LONE_REPEATS, ours, raw, awaited, partial(tasks, _TASKS))
    step, bare, hop = (s / _LONE * 1e6 for s in walls)
    task = tasks_wall / _TASKS * 1e6
    row = f"durable step of 1 KB, a lone chain, {durability}"
    # Where a commit need not reach the disk, it costs less than any way to another thread and back.
    target = Target(1.5, "ratio") if durability == "power" else None
    return [
        Result(f"{row}, wall", step, "us", bare, "sqlite3, a commit a step", target),
        Result(f"{row}, added to a bare commit, wall", step - bare, "us", task, TASK),
        Result(f"{row}, wall", step, "us", hop, "sqlite3, a commit a step, awaited from a thread"),
    ]


async def _bytes(place: Path) -> list[Result]:
    """What is on disk when the store is closed."""
    sizes: list[int] = []
    results: list[Result] = []
    for length in _LENGTHS:
        store = _store(place, "process")
        async with Orchestrator(store=store) as orchestrator:
            await _running(orchestrator, _chain(length), 1)()
        sizes.append(_size(store.path))
        row = f"bytes on disk, {spaced(length)} steps of 1 KB, a step"
        results.append(Result(row, sizes[-1] / length, "B", len(_KILOBYTE), "the text", Target(2, "ratio")))
    exponent = math.log(sizes[1] / sizes[0]) / math.log(_LENGTHS[1] / _LENGTHS[0])
    return [*results, Result("bytes on disk: growth exponent", exponent, "", target=Target(1.05))]


def _size(path: Path) -> int:
    """Bytes of the database and of its log, if that is still there."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _store(place: Path, durability: Durability) -> SqliteStore:
    return SqliteStore(place / f"{next(_numbers)}.db", durability=durability)


# The floor


class _Log:
    """What the store has written for some runs: its tables, and its rows in the order of their commits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as found:
            self.tables: list[str] = [
                sql for (sql,) in found.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
            ]
            self.turns: list[list[Unit]] = []
            for (run,) in found.execute("SELECT n FROM runs").fetchall():
                rows = found.execute("SELECT * FROM events WHERE run = ? AND seq > 1 ORDER BY seq", (run,)).fetchall()
                for turn, at in enumerate(range(0, len(rows), 2)):  # two events a step
                    if turn == len(self.turns):
                        self.turns.append([])
                    self.turns[turn].append((run, rows[at : at + 2]))


async def _log(place: Path, workflow: Workflow[Any], runs: int) -> _Log:
    store = _store(place, "process")
    async with Orchestrator(store=store) as orchestrator:
        await _running(orchestrator, workflow, runs)()
    return _Log(store.path)


@contextmanager
def _raws(
    place: Path, log: _Log, durability: Durability, repeats: int, *, on_thread: bool = False
) -> Generator[Work, None, None]:
    """Work that writes the log with sqlite3, each time into another file, all of which are made before."""
    files = [_empty(place / f"{next(_numbers)}.db", log, durability) for _ in range(repeats)]
    waiting = iter(files)

    async def write() -> None:
        connection = next(waiting)
        if on_thread:
            await _write_on_thread(connection, log)
        else:
            for units in log.turns:
                _commit(connection, units)

    try:
        yield write
    finally:
        for connection in files:
            connection.close()


def _empty(path: Path, log: _Log, durability: Durability) -> sqlite3.Connection:
    """The same tables and runs, none of the events."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    for sql in log.tables:
        connection.execute(sql)
    connection.execute("ATTACH ? AS log", (str(log.path),))
    for table in ("definitions", "runs"):
        connection.execute(f"INSERT INTO {table} SELECT * FROM log.{table}")
    connection.execute("DETACH log")
    connection.execute("UPDATE runs SET last_seq = 1")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _commit(connection: sqlite3.Connection, units: list[Unit]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for run, rows in units:
        advance = "UPDATE runs SET last_seq = ? WHERE n = ? AND last_seq = ?"
        assert connection.execute(advance, (rows[-1][1], run, rows[0][1] - 1)).rowcount == 1
        for row in rows:
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute("COMMIT")


async def _write_on_thread(connection: sqlite3.Connection, log: _Log) -> None:
    """The least that a commit costs which does not block the event loop."""
    loop = asyncio.get_running_loop()
    asked: queue.SimpleQueue[tuple[list[Unit], asyncio.Future[None]] | None] = queue.SimpleQueue()

    def serve() -> None:
        while (job := asked.get()) is not None:
            _commit(connection, job[0])
            loop.call_soon_threadsafe(job[1].set_result, None)

    thread = threading.Thread(target=serve)
    thread.start()
    for units in log.turns:
        done = loop.create_future()
        asked.put((units, done))
        await done
    asked.put(None)
    thread.join()
