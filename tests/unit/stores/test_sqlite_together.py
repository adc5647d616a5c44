"""Plain units of several runs are one statement, whatever their lengths, and nothing of it is left over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llmorch.ports import AppendReply, Claim, InboxItem
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.appends import Append
from llmorch.stores.sqlite.together import PREPARED, together
from tests.unit.stores.sqlite_parts import made, note

pytestmark = pytest.mark.anyio


@contextmanager
def prepared(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in PREPARED:
            connection.execute(statement)
        yield connection


def append(claim: Claim, length: int) -> Append:
    events = [note(claim.run_id, claim.last_seq + at, f"{at}") for at in range(1, length + 1)]
    return Append(claim, events, status=None, consumed=(), wake_at=None, where="runs.db")


@pytest.mark.parametrize("lengths", [(1,), (2,), (3,), (1, 2, 3), (2, 2, 2), (5, 1, 4, 2, 3)])
async def test_one_statement_adds_units_of_any_lengths(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claims = [await made(store, f"{number}") for number in range(len(lengths))]  # "0" is no padding
    with prepared(store.path) as connection:
        before = connection.total_changes
        appends = [append(claim, length) for claim, length in zip(claims, lengths, strict=True)]
        assert together(appends, connection) == [AppendReply(1 + length) for length in lengths]
        assert connection.total_changes - before == len(lengths) + sum(lengths)  # a row of each run, and its events
    for claim, length in zip(claims, lengths, strict=True):
        assert (await store.load(claim.run_id)).last_seq == 1 + length
        kept = await store.events(claim.run_id, after=1)
        assert kept == [note(claim.run_id, 1 + at, f"{at}") for at in range(1, length + 1)]
    await store.aclose()


@pytest.mark.parametrize("odd", ["owned by another", "behind", "has mail", "not there"])
async def test_of_units_of_which_one_must_be_refused_none_is_added(tmp_path: Path, odd: str) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claims = [await made(store, f"r{number}") for number in range(3)]
    match odd:
        case "owned by another":
            await store.claim("r1", "another", takeover=True)
        case "behind":
            claims[1] = Claim("r1", 1, 4)
        case "has mail":
            await store.post("r1", InboxItem("cancel"))
        case _:
            claims[1] = Claim("r9", 1, 1)
    with prepared(store.path) as connection:
        assert together([append(claim, 2) for claim in claims], connection) is None
        assert not connection.in_transaction
    assert [(await store.load(f"r{number}")).last_seq for number in range(3)] == [1, 1, 1]
    await store.aclose()
