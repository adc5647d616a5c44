"""`verify` finds whatever is not as it was written, says where, and changes nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmorch import Orchestrator, StoreCorrupt, StoreError, Workflow
from llmorch.documents import Document
from llmorch.ports import InboxItem
from llmorch.stores.sqlite import SqliteLibrary, SqliteStore, StoreReport
from tests.unit.stores.sqlite_golden import loaded, samples
from tests.unit.stores.sqlite_parts import made, note
from tests.unit.stores.sqlite_users import good_store, mark, sums

pytestmark = pytest.mark.anyio

DONE, FAILED, WAITING, LEFT = (sample.row.id for sample in samples())


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as raw:
        for statement in statements:
            raw.execute(statement)
        raw.commit()


async def report_on(path: Path) -> StoreReport:
    store = SqliteStore(path)
    report = await store.verify()
    await store.aclose()
    return report


async def test_a_sound_store_is_said_to_be_sound(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    ids = await good_store(path, 5)
    store = SqliteStore(path)
    await SqliteLibrary(store).put(Document("block", "voice", {"text": "x"}))
    claim = await made(store, "open")
    await store.post("open", InboxItem("cancel"))
    await store.append(claim, [note("open", 2)])
    report = await store.verify()
    events = sum([(await store.load(run_id)).last_seq for run_id in [*ids, "open"]])
    assert report == StoreReport(path, report.schema, 6, events)
    assert report.is_sound
    assert str(report).endswith(f"6 runs, {events} events; all is as it was written")
    await store.aclose()


async def test_verifying_changes_nothing_and_brings_nothing_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    before = mark(path)
    report = await report_on(path)
    assert (report.schema, report.runs, report.is_sound) == (1, 4, True)
    assert mark(path) == before
    assert os.listdir(tmp_path) == ["runs.db"]


RUN_FAULTS: dict[str, tuple[str, str, str]] = {
    "data of an event": (
        "UPDATE events SET data = CAST(replace(CAST(data AS TEXT), 'Ada', 'Eve') AS BLOB) WHERE seq = 5 AND run = 1",
        DONE,
        "event 5 is not what was written: its checksum differs",
    ),
    "time of an event": ("UPDATE events SET at = at + 1 WHERE run = 1 AND seq = 3", DONE, "event 3 is not what was"),
    "an event in the middle": ("DELETE FROM events WHERE run = 1 AND seq = 4", DONE, "events 4 to 4 are missing"),
    "three events": ("DELETE FROM events WHERE run = 1 AND seq IN (2, 3, 4)", DONE, "events 2 to 4 are missing"),
    "the first event": ("DELETE FROM events WHERE run = 2 AND seq = 1", FAILED, "events 1 to 1 are missing"),
    "the last event": (
        "DELETE FROM events WHERE run = 2 AND seq = 4",
        FAILED,
        "its row says 4 events, and its log ends with event 3",
    ),
    "all events": ("DELETE FROM events WHERE run = 3", WAITING, "its row says 3 events, and its log ends with event 0"),
    "the status": (
        "UPDATE runs SET status = 'succeeded' WHERE n = 2",
        FAILED,
        "its row says 'succeeded', its log 'failed'",
    ),
    "an end that never was": (
        "UPDATE runs SET status = 'failed' WHERE n = 4",
        LEFT,
        "says 'failed', and its log does not",
    ),
    "when it ended": ("UPDATE runs SET finished_at = NULL WHERE n = 1", DONE, "its row does not say when"),
    "the workflow": (
        "UPDATE runs SET workflow = 'milk' WHERE n = 1",
        DONE,
        "its row says workflow 'milk', its log 'tea'",
    ),
    "the definition": ("UPDATE runs SET definition = 2 WHERE n = 1", DONE, "its row says definition"),
    "the tags": ("UPDATE runs SET tags = '[' WHERE n = 1", DONE, "its tags cannot be read"),
    "what it cost": (
        """UPDATE runs SET totals = '{"usage":{"requests":1},"cost":"1E-9"}' WHERE n = 1""",
        DONE,
        "its row says that it used {'usage': {'requests': 1}, 'cost': '1E-9'}, its log {'usage': {'input_tokens': 12,",
    ),
    "the totals": ("UPDATE runs SET totals = 'x' WHERE n = 1", DONE, "its totals cannot be read"),
    "the inbox": ("UPDATE inbox SET data = X'7B' WHERE run = 3", WAITING, "its inbox cannot be read"),
}


@pytest.mark.parametrize("what", RUN_FAULTS)
async def test_a_damaged_run_is_named_and_the_others_are_not(tmp_path: Path, what: str) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    statement, run_id, text = RUN_FAULTS[what]
    changed(path, statement)
    report = await report_on(path)
    assert not report.is_sound
    assert list(report.run_faults) == [run_id]
    assert text in report.run_faults[run_id][0]
    assert report.file_faults == ()
    shown = str(report)
    assert f"run {run_id}: {report.run_faults[run_id][0]}" in shown
    assert "all other runs can be used as before" in shown
    assert "delete them" in shown


async def test_a_run_that_was_resumed_is_sound_while_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    fails = True

    async def flaky() -> str:
        if fails:
            raise ValueError("not yet")
        return "well"

    workflow: Workflow[str] = Workflow("flaky")
    workflow.returns(workflow.add(flaky))
    async with Orchestrator(f"sqlite:///{path}") as orchestrator:
        run = await orchestrator.run(workflow)
        assert run.status == "failed"
        assert (await report_on(path)).is_sound
        fails = False
        run = await (await orchestrator.resume(run.id)).result()
        assert run.status == "succeeded"
    assert (await report_on(path)).is_sound


async def test_what_belongs_to_nothing_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    changed(path, "DELETE FROM runs WHERE n = 3")  # no foreign keys here, so its log stays
    report = await report_on(path)
    assert sorted(report.file_faults) == [
        "2 rows of inbox belong to no row of runs",
        "3 rows of events belong to no row of runs",
    ]
    assert (report.runs, report.run_faults) == (3, {})
    assert report.unused == (samples()[2].row.definition_sha,)


async def test_a_definition_that_was_changed_is_found_and_one_that_is_unused_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 1)
    changed(
        path, "UPDATE definitions SET body = X'7B7D' WHERE n = 1", "INSERT INTO definitions VALUES (9, 'f00', NULL)"
    )
    report = await report_on(path)
    (sha,) = report.definition_faults
    assert sha == samples()[0].row.definition_sha
    assert report.unused == ("f00",)
    assert f"definition {sha}: is not what was written" in str(report)
    assert not report.is_sound
    changed(path, "DELETE FROM definitions WHERE n = 1")
    assert "1 rows of" not in str(await report_on(path))
    assert "2 rows of runs belong to no row of definitions" in str(await report_on(path))


async def test_a_document_that_was_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    loaded(path, 2)
    changed(path, "UPDATE document_versions SET data = X'7B7D' WHERE version = 2")
    report = await report_on(path)
    assert report.document_faults == (
        "Block 'voice' in folder 'Tone/All', version 2 is not what was written: its checksum differs",
    )
    assert not report.is_sound


async def test_spoiled_pages_are_found_and_the_runs_they_hold_are_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    for number in range(12):
        claim = await made(store, f"r{number:02}")
        await store.append(claim, [note(claim.run_id, seq, "x" * 900) for seq in range(2, 8)])
    await store.aclose()
    content = path.read_bytes()
    at = content.rindex(b"x" * 900)
    path.write_bytes(content[:at] + b"y" + content[at + 1 :])
    report = await report_on(path)
    assert (len(report.run_faults), report.file_faults) == (1, ())
    page = at // 4_096
    path.write_bytes(content[: page * 4_096] + b"\xee" * 100 + content[page * 4_096 + 100 :])
    report = await report_on(path)
    assert report.file_faults
    assert report.run_faults
    assert len(report.run_faults) < 12
    assert "put a backup back with SqliteStore.restore" in str(report)


async def test_what_is_no_store_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store .*nonesuch\.db"):
        await report_on(tmp_path / "nonesuch.db")
    assert os.listdir(tmp_path) == []
    (tmp_path / "text.db").write_text("hello")
    with pytest.raises(StoreCorrupt, match="damaged or no SQLite file"):
        await report_on(tmp_path / "text.db")
    changed(tmp_path / "other.db", "CREATE TABLE t(x)")
    with pytest.raises(StoreError, match="of another program"):
        await report_on(tmp_path / "other.db")
    (tmp_path / "empty.db").touch()
    assert (await report_on(tmp_path / "empty.db")).schema == 0
    with pytest.raises(StoreError, match="is a folder"):
        await report_on(tmp_path)


async def test_a_store_is_verified_while_runs_go_on(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(path)
    async with Orchestrator(store) as orchestrator:
        handles = [await orchestrator.start(sums(30)) for _ in range(10)]
        for _ in range(5):
            report = await store.verify()
            assert report.is_sound, str(report)
        for handle in handles:
            assert (await handle.result()).status == "succeeded"
    assert (await report_on(path)).runs == 10
