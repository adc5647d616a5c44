"""A store as each schema wrote it, as SQL text; `python -m tests.unit.stores.sqlite_golden` writes the newest."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from llmorch import (
    CallFinished,
    CallStarted,
    Event,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StepWaiting,
    Usage,
)
from llmorch._json import sha256
from llmorch.documents import Document, Use
from llmorch.models.failure import Failure
from llmorch.models.values import Data
from llmorch.ports import Claim, InboxItem, RunRow
from llmorch.stores.sqlite import SqliteLibrary, SqliteStore
from llmorch.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS

__all__ = ["FOLDER", "Sample", "documents", "dumped", "loaded", "samples", "tables_of"]

FOLDER = Path(__file__).parent / "golden"

_USAGE = Usage(input_tokens=12, output_tokens=7, requests=1)
_FAILURE = Failure(
    "RateLimited", "wait: Grüße 東京 \x00", "draft", {"status": 429}, Failure("builtins.KeyError", "'x'")
)
_TEA: dict[str, Data] = {"name": "tea", "steps": [{"name": "draft", "prompt": "Say {{ who }}."}]}
_MILK: dict[str, Data] = {"name": "milk", "steps": []}


@dataclass(frozen=True)
class Sample:
    """A run of the golden files: its row as read back, its log, what waits in its inbox, and its definition."""

    row: RunRow
    events: Sequence[Event]
    inbox: tuple[InboxItem, ...] = ()
    taken: tuple[InboxItem, ...] = ()
    definition: Mapping[str, Data] | None = None


def _log(row: RunRow, *events: Event) -> list[Event]:
    for seq, event in enumerate(events, start=1):
        event.run_id, event.seq, event.at_us = row.id, seq, row.created_at + seq
    return list(events)


def _row(run_id: str, status: str, **about: object) -> RunRow:
    values: dict[str, object] = {"epoch": 1, "owner": None, "last_seq": 1, "created_at": 1_700_000_000_000_000}
    return RunRow(run_id, status=status, **(values | {"workflow": "tea", "inputs_sha": "1" * 64} | about))  # type: ignore[arg-type]  # fields by name


def samples() -> list[Sample]:
    """The runs of every golden file; fresh events each time."""
    ended = {"finished_at": 1_700_000_009_000_000}
    tea, milk = {"definition_sha": sha256(_TEA)}, {"definition_sha": sha256(_MILK), "workflow": "milk"}
    done = _row("0aaaaaaaaaaaaaaaaaaaaaaaaa", "succeeded", last_seq=6, tags=("one", "Zwei '"), **ended, **tea)
    failed = _row("0bbbbbbbbbbbbbbbbbbbbbbbbb", "failed", last_seq=4, idempotency_key="key-1", **ended, **tea)
    waiting = _row("0ccccccccccccccccccccccccc", "waiting", last_seq=3, wake_at=1_900_000_000_000_000, **milk)
    left = _row("0ddddddddddddddddddddddddd", "running", last_seq=2, owner="host-1-gone", epoch=4, recoveries=2)
    return [
        Sample(
            done,
            _log(
                done,
                RunStarted(
                    "tea", sha256(_TEA), {"who": "Ada", "big": 2**70, "é": [1.0, None, True]}, tags=("one", "Zwei '")
                ),
                StepStarted("draft", "f" * 64),
                CallStarted("draft", 1, "openai", "gpt", Decimal("0.000100"), reserved_tokens=90),
                CallFinished("draft", 1, None, _USAGE, Decimal("1E-9"), "stop"),
                StepSucceeded("draft", "Hi, Ada 😀\u2028\\u0041"),
                RunFinished("succeeded", None, _USAGE, Decimal("0.000000001")),
            ),
            definition=_TEA,
        ),
        Sample(
            failed,
            _log(
                failed,
                RunStarted("tea", sha256(_TEA)),
                StepStarted("draft"),
                StepFailed("draft", _FAILURE),
                RunFinished("failed", _FAILURE),
            ),
            taken=(InboxItem("cancel", at=5),),
            definition=_TEA,
        ),
        Sample(
            waiting,
            _log(
                waiting,
                RunStarted("milk", sha256(_MILK)),
                StepWaiting("ask", "Which?", {"type": "string"}, 1_900_000_000_000_000),
                RunWaiting(("ask",)),
            ),
            inbox=(
                InboxItem("answer", "ask", data={"b": 1, "a": ["Ü"]}, at=7, by="Ada"),
                InboxItem("late", "x", 3, 1.5),
            ),
            definition=_MILK,
        ),
        Sample(left, _log(left, RunStarted("tea"), StepStarted("draft"))),
    ]


def documents() -> list[Document]:
    """Every version of every document, as read back from golden files of schema 2 and later."""
    voice = Document("block", "voice", {"text": "Be brief: é\u2028"}, folder="Tone/All", tags=("style", "Ü"))
    tea = Document("payload", "tea", {"messages": []}, description="Tea.")
    return [
        replace(voice, version=1, created_at=1_000, updated_at=1_000),
        replace(voice, body={"text": "Be long.", "n": [1.0, None]}, version=2, created_at=1_000, updated_at=2_000),
        replace(
            tea,
            uses=(Use("block", "voice", version=1, folder="Tone/All"),),
            version=1,
            created_at=3_000,
            updated_at=3_000,
        ),
    ]


async def _written(path: Path) -> None:
    store = SqliteStore(path, durability="process")
    for sample in samples():
        row = sample.row
        await store.create(row, sample.events[:1], definition=sample.definition)
        for item in (*sample.taken, *sample.inbox):
            await store.post(row.id, item)
        await store.append(Claim(row.id, row.epoch, 1), sample.events[1:], consumed=sample.taken)
    library = SqliteLibrary(store)
    for document in documents():
        await library.put(document, at=document.updated_at)
    await store.write(
        lambda raw: raw.execute("INSERT INTO cache(key, entry, until, used_at) VALUES ('k', X'7B7D', 9, 5)")
    )
    await store.aclose()


def dumped(path: Path) -> str:
    """The file as SQL text that makes it again."""
    with closing(sqlite3.connect(path)) as raw:
        return "\n".join([f"PRAGMA application_id = {APPLICATION_ID};", *raw.iterdump(), ""])


def loaded(path: Path, version: int) -> None:
    """Make the file that the golden text of this schema describes."""
    text = (FOLDER / f"schema-{version}.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(text)


def tables_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Every table, index and view with the text that made it."""
    query = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    return dict(connection.execute(query).fetchall())


def main() -> int:
    """Write the golden file of the newest schema, unless there is one: what was released stays as it is."""
    target = FOLDER / f"schema-{len(MIGRATIONS)}.sql"
    if target.exists():
        print(f"{target.name} is there; a released schema is never changed", file=sys.stderr)
        return 1
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        anyio.run(_written, path)
        target.write_text(dumped(path), encoding="utf-8")
    print(f"{target.name}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
