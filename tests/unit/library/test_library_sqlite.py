"""The library in a SQLite file: beside the runs of a store, checked on reading, brought up from an older schema."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from llmorch.documents import Document, DocumentNotFound, Use
from llmorch.errors import StoreCorrupt
from llmorch.stores.sqlite import SqliteStore
from llmorch.stores.sqlite.library import SqliteLibrary
from llmorch.stores.sqlite.schema import MIGRATIONS, migrate, version_of
from tests.unit.stores.sqlite_parts import made, note

pytestmark = pytest.mark.anyio

VOICE = Document("block", "voice", {"text": "Be brief."})
DRAFT = Document("payload", "draft", {"blocks": ["x"]}, uses=(Use("block", "voice", version=1),))


async def written(path: Path) -> None:
    library = SqliteLibrary(path, durability="process")
    await library.put(VOICE)
    await library.put(DRAFT)
    await library.aclose()


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def changed(path: Path, statement: str, *, foreign_keys: bool = False) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute(f"PRAGMA foreign_keys = {foreign_keys:d}")
        raw.execute(statement)


async def test_runs_and_documents_share_a_file_and_its_writer(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    library = SqliteLibrary(store)
    claim = await made(store)
    await library.put(VOICE)
    await store.append(claim, [note("r1", 2)])
    await library.aclose()
    assert (await store.load("r1")).last_seq == 2  # the store is open still
    assert (await library.get("block", "voice")).body == {"text": "Be brief."}
    await store.aclose()
    assert files(tmp_path, "*.db") == ["runs.db"]
    again = SqliteLibrary(tmp_path / "runs.db")
    assert (await again.get("block", "voice")).version == 1
    await again.aclose()


async def test_units_of_runs_and_versions_at_once_all_land(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db", durability="process")
    library = SqliteLibrary(store)
    claim = await made(store)

    async def run() -> None:
        for seq in range(2, 42):
            reply = await store.append(claim, [note("r1", seq)])
            claim.last_seq = reply.last_seq

    async def save() -> None:
        for number in range(40):
            await library.put(Document("block", "voice", {"text": f"{number}"}), expected=number)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(save)
    assert len(await store.events("r1")) == 41
    assert len(await library.versions("block", "voice")) == 40
    await store.aclose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE document_versions SET data = CAST(replace(CAST(data AS TEXT), 'brief', 'blunt') AS BLOB)",
        "UPDATE document_versions SET version = 9, data = data WHERE n = 1",
        "UPDATE document_versions SET sum = zeroblob(16)",
        "UPDATE documents SET kind = 'workflow' WHERE kind = 'block'",
    ],
)
async def test_what_was_changed_behind_the_librarys_back_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "library.db"
    await written(path)
    changed(path, statement)
    changed(
        path, "UPDATE documents SET version = (SELECT max(version) FROM document_versions WHERE document = documents.n)"
    )
    library = SqliteLibrary(path)
    with pytest.raises(StoreCorrupt, match="is not what was written: its checksum differs; nothing was changed"):
        await library.list()
    await library.aclose()


async def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    path = tmp_path / "library.db"
    await written(path)
    for statement in (
        "DELETE FROM documents WHERE kind = 'block'",  # a payload was made of it
        "INSERT INTO document_uses VALUES (2, 7, 99)",
        "INSERT INTO document_versions(document, version, at, data, sum) VALUES (99, 1, 1, x'00', x'00')",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY constraint failed"):
            changed(path, statement, foreign_keys=True)
    library = SqliteLibrary(path)
    await library.put(VOICE)  # the writer's own connection
    connection = library._file._writer._connection
    assert connection is not None
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    await library.aclose()


async def test_purging_leaves_no_row_behind(tmp_path: Path) -> None:
    path = tmp_path / "library.db"
    await written(path)
    library = SqliteLibrary(path, durability="process")
    await library.delete("payload", "draft")
    await library.delete("block", "voice")
    assert await library.purge() == 2
    with pytest.raises(DocumentNotFound):
        await library.versions("block", "voice")
    await library.aclose()
    with closing(sqlite3.connect(path)) as raw:
        for table in ("documents", "document_versions", "document_uses"):
            assert raw.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_a_store_of_the_first_schema_gets_a_library_and_keeps_its_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        migrate(raw, path, migrations=MIGRATIONS[:1])
        assert version_of(raw, path) == 1
        raw.execute(
            "INSERT INTO runs(id, workflow, inputs_sha, status, epoch, last_seq, tags, created_at, totals) "
            "VALUES ('r1', 'w', '', 'running', 1, 0, '[]', 5, '{}')"
        )
    store = SqliteStore(path)
    library = SqliteLibrary(store)
    assert await library.list() == []
    await library.put(VOICE)
    assert (await store.load("r1")).created_at == 5
    await store.aclose()
    with closing(sqlite3.connect(path)) as raw:
        assert version_of(raw, path) == len(MIGRATIONS)
    assert len(files(tmp_path, "*.backup")) == 1


async def test_a_list_of_thousands_is_one_question_and_complete(tmp_path: Path) -> None:
    library = SqliteLibrary(tmp_path / "library.db", durability="process")
    await library.put(VOICE)

    async def some(first: int) -> None:
        for number in range(first, first + 150):
            await library.put(
                Document("payload", f"p{number:04}", {"n": number}, uses=(Use("block", "voice", version=1),))
            )

    async with anyio.create_task_group() as group:
        for first in range(0, 1_200, 150):
            group.start_soon(some, first)
    found = await library.list("payload")
    assert [one.name for one in found] == [f"p{number:04}" for number in range(1_200)]
    assert all(one.uses == (Use("block", "voice", version=1),) for one in found)
    assert len(await library.users("block", "voice")) == 1_200
    await library.aclose()


async def test_the_file_is_for_its_user_only(tmp_path: Path) -> None:
    await written(tmp_path / "library.db")
    assert stat.S_IMODE((tmp_path / "library.db").stat().st_mode) == 0o600
