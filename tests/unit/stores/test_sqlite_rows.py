"""Rows of the SQLite store: events come back as they were, late answers are kept, usage can be asked in SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from llmorch import (
    AlreadyAnswered,
    CallFinished,
    CallStarted,
    ClaimLost,
    IdempotencyConflict,
    RunCancelRequested,
    RunStarted,
    StepSucceeded,
    Warned,
)
from llmorch.event_late import late_events
from llmorch.events import Answer, Event, StepFailed, ToolFinished
from llmorch.models.failure import Failure
from llmorch.models.message import ToolCall
from llmorch.models.usage import Usage
from llmorch.ports import Claim, InboxItem, RunRow
from llmorch.stores._rows import event_of, unit_of
from llmorch.stores.sqlite import SqliteStore
from tests.unit.stores.sqlite_parts import made, note

EVENTS: list[Event] = [
    RunStarted('w","at":"never', inputs={"a": [1, None, {"ü": "日本\x00"}]}, tags=("x",), metadata={"big": 1 << 80}),
    StepSucceeded("draft", 'a","at":"b "quoted" \\ é 😀'),
    CallStarted("draft", 1, "openai", "gpt", Decimal("0.000000001")),
    CallFinished(
        "draft", 1, usage=Usage(3, 4), cost=Decimal("0.10"), answer=Answer("t", (ToolCall("i", "n", "{}"),), {"k": 1})
    ),
    ToolFinished("draft", 1, "i", "n", None, Failure("ToolError", "no")),
    StepFailed("draft", Failure("X", "y")),
    Warned(None, "code", ""),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    event.run_id, event.seq, event.at_us = 'r","at":"1', 7, 1_700_000_000_123_456
    (columns,) = unit_of([event])
    assert columns[0] == 7
    assert event_of(event.run_id, columns) == event
    assert b"1_700" not in columns[5]
    assert type(event).__name__.encode() not in columns[5]
    columns[5].decode("ascii")


def test_the_columns_of_an_event_are_those_that_are_in_older_files() -> None:
    unit: list[Event] = [
        CallStarted(
            "draft", 2, "openai", "gpt", Decimal("0.000000001"), run_id="r1", seq=3, at_us=1_700_000_000_123_456
        ),
        StepSucceeded("draft", {"b": ['é "x"\n', 1.5, None], "a": {}}, run_id="r1", seq=4, at_us=1),
        RunCancelRequested(run_id="r1", seq=5, at_us=2),
    ]
    assert unit_of(unit) == [
        (
            3, "CallStarted", "draft", 2, 1_700_000_000_123_456,
            b'{"step":"draft","call":2,"provider":"openai","model":"gpt","estimate":"1E-9","instructed":false,'
            b'"reserved_tokens":null,"tools_in_words":false}',
            bytes.fromhex("b7380268be498bf277dcfabc838e67eb"),
        ),
        (
            4, "StepSucceeded", "draft", 0, 1,
            rb'{"step":"draft","value":{"b":["\u00e9 \"x\"\n",1.5,null],"a":{}},"cached":false,"copied_from":null}',
            bytes.fromhex("188c96939cfd761bc507ba97dacdfca9"),
        ),
        (5, "RunCancelRequested", "", 0, 2, b"{}", bytes.fromhex("e238858d57da2d1e33918b1320ced24e")),
    ]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 300])
async def test_a_unit_of_any_length_is_written_whole_and_in_order(tmp_path: Path, count: int) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    unit = [note("r1", seq) for seq in range(2, count + 2)]
    reply = await store.append(claim, unit)
    assert reply.last_seq == count + 1
    assert (await store.events("r1", after=1))[:count] == unit
    await store.aclose()


@pytest.mark.anyio
async def test_a_value_is_written_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    unit = [
        StepSucceeded(f"s{seq}", f"value-{seq} " + "x" * 1_000, run_id="r1", seq=seq, at_us=1) for seq in range(2, 1002)
    ]
    await store.append(claim, unit)
    await store.aclose()
    data = (tmp_path / "runs.db").read_bytes()
    assert data.count(b"value-500 ") == 1
    assert len(data) < 2 * 1_000 * 1_010


@pytest.mark.anyio
async def test_a_paid_answer_of_a_lost_claim_is_kept_once_for_the_new_owner(tmp_path: Path) -> None:
    old, new = SqliteStore(tmp_path / "runs.db"), SqliteStore(tmp_path / "runs.db")
    claim = await made(old)
    taken = await new.claim("r1", new.owner, takeover=True)
    paid: list[Event] = [
        CallFinished("draft", 1, cost=Decimal("0.5"), run_id="r1", seq=2),
        StepSucceeded("draft", "Tea.", run_id="r1", seq=3),
    ]
    for _ in range(2):
        with pytest.raises(ClaimLost, match="epoch 2, not 1"):
            await old.append(claim, paid, status="succeeded")
    row = await new.load("r1")
    assert (row.status, row.last_seq, row.finished_at, row.owner) == ("running", 1, None, new.owner)
    (item,) = await new.inbox("r1")
    assert (item.kind, item.step, item.call) == ("late", "draft", 1)
    assert late_events(item) == paid
    reply = await new.append(taken, [note("r1", 2)])
    assert reply.inbox
    reply = await new.append(Claim("r1", 2, 2), [note("r1", 3)], consumed=[item])
    assert not reply.inbox
    assert await new.inbox("r1") == []
    with pytest.raises(ClaimLost):
        await old.append(claim, paid)
    assert await new.inbox("r1") == []  # it was taken up before
    await old.aclose()
    await new.aclose()


@pytest.mark.anyio
async def test_consumed_items_and_events_go_together_or_not_at_all(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    item = InboxItem("answer", "ask", data={"a": 1}, at=5, by="me")
    await store.post("r1", item)
    with pytest.raises(ClaimLost):
        await store.append(Claim("r1", 9, 1), [note("r1", 2)], consumed=[item])
    assert await store.inbox("r1") == [item]
    assert await store.release(claim, status="waiting") is False
    await store.append(claim, [note("r1", 2)], consumed=[item], status="waiting", wake_at=77)
    assert await store.inbox("r1") == []
    with pytest.raises(AlreadyAnswered, match="'ask' of run r1"):
        await store.post("r1", item)
    assert await store.release(claim, status="waiting") is True
    assert (await store.load("r1")).wake_at == 77
    assert await store.recoverable(now=76) == []
    assert [row.id for row in await store.recoverable(now=77)] == ["r1"]
    await store.aclose()


@pytest.mark.anyio
async def test_a_creation_that_is_tried_again_gives_the_same_run(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    row = RunRow("r1", "w", "running", 1, "me", 0, 1, idempotency_key="k", inputs_sha="a")
    first = [RunStarted("w", run_id="r1", seq=1)]
    one = await store.create(row, first)
    assert await store.create(row, first) == one
    with pytest.raises(IdempotencyConflict):
        await store.create(RunRow("r2", "w", "running", 1, "me", 0, 1, idempotency_key="k", inputs_sha="b"), first)
    assert len(await store.list_runs()) == 1
    await store.aclose()


@pytest.mark.anyio
async def test_a_definition_goes_with_the_last_run_that_was_made_of_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    for run_id in ("r1", "r2"):
        row = RunRow(run_id, "w", "running", 1, None, 0, 1, definition_sha="abc")
        body = {"name": "w"} if run_id == "r2" else None
        await store.create(row, [RunStarted("w", run_id=run_id, seq=1)], definition=body)
    await store.post("r1", InboxItem("cancel"))
    await store.delete_run("r1")
    assert await store.definition("abc") == {"name": "w"}
    await store.delete_run("r2")
    assert await store.definition("abc") is None
    await store.aclose()
    with closing(sqlite3.connect(store.path)) as raw:
        for table in ("runs", "events", "inbox", "definitions"):
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


@pytest.mark.anyio
async def test_calls_can_be_asked_in_sql(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    unit: list[Event] = [
        CallStarted("draft", 1, "openai", "gpt", Decimal("0.02"), run_id="r1", seq=2, at_us=10),
        CallFinished("draft", 1, usage=Usage(3, 4), cost=Decimal("0.010"), run_id="r1", seq=3, at_us=20),
        CallStarted("draft", 2, "openai", "gpt", Decimal("0.02"), run_id="r1", seq=4, at_us=30),
    ]
    await store.append(claim, unit)
    await store.aclose()
    with closing(sqlite3.connect(store.path)) as raw:
        rows = raw.execute(
            "SELECT run, step, call, started_at, finished_at, model, input_tokens, output_tokens, cost, estimate "
            "FROM calls ORDER BY call"
        ).fetchall()
    assert rows == [
        ("r1", "draft", 1, 10, 20, "gpt", 3, 4, "0.010", "0.02"),
        ("r1", "draft", 2, 30, None, "gpt", None, None, None, "0.02"),
    ]


@pytest.mark.anyio
async def test_a_unit_that_is_tried_again_after_its_commit_is_answered_and_not_written_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    claim = await made(store)
    unit = [note("r1", 2), note("r1", 3)]
    first = await store.append(claim, unit, status="failed")
    assert await store.append(claim, unit, status="failed") == first
    with pytest.raises(ClaimLost, match="at event 3"):
        await store.append(claim, [note("r1", 2), note("r1", 3, "another text")])
    assert len(await store.events("r1")) == 3
    assert await store.inbox("r1") == []
    await store.aclose()
