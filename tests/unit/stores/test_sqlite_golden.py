"""A store that an older llmorch wrote is opened, brought up to date and read as it was written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llmorch.stores.sqlite import SqliteLibrary, SqliteStore
from llmorch.stores.sqlite.schema import MIGRATIONS, migrate, version_of
from tests.unit.stores.sqlite_golden import FOLDER, documents, loaded, samples, tables_of

VERSIONS = range(1, len(MIGRATIONS) + 1)


def test_every_schema_has_its_golden_file() -> None:
    there = sorted(path.name for path in FOLDER.iterdir())
    assert there == sorted(f"schema-{version}.sql" for version in VERSIONS), (
        "a schema without a golden file gets one by `python -m tests.unit.stores.sqlite_golden`"
    )
    assert all(path.stat().st_size <= 20_000 for path in FOLDER.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_released_schema_is_never_changed(tmp_path: Path, version: int) -> None:
    loaded(tmp_path / "golden.db", version)
    with closing(sqlite3.connect(tmp_path / "golden.db")) as golden, closing(sqlite3.connect(":memory:")) as fresh:
        fresh.isolation_level = None
        migrate(fresh, tmp_path / "fresh.db", migrations=MIGRATIONS[:version])
        assert version_of(golden, tmp_path) == version
        assert tables_of(fresh) == tables_of(golden)


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_an_older_llmorch_wrote_is_read_as_it_was_written(tmp_path: Path, version: int) -> None:
    path = tmp_path / "runs.db"
    loaded(path, version)
    store = SqliteStore(path, durability="process")
    for sample in samples():
        assert await store.load(sample.row.id) == replace(sample.row, owner=None)  # its owner is dead
        assert await store.events(sample.row.id) == sample.events
        assert tuple(await store.inbox(sample.row.id)) == sample.inbox
        if sample.definition is not None:
            assert await store.definition(sample.row.definition_sha) == sample.definition
    library = SqliteLibrary(store)
    found = [await library.versions(one.kind, one.name, folder=one.folder) for one in await library.list()]
    assert [document for versions in found for document in versions] == (documents() if version >= 2 else [])
    report = await store.verify()
    assert report.is_sound, str(report)
    assert (report.runs, report.unused) == (len(samples()), ())
    assert [row.id for row in await store.list_runs()] == [sample.row.id for sample in reversed(samples())]
    await store.aclose()
    with closing(sqlite3.connect(path)) as raw:
        assert version_of(raw, path) == len(MIGRATIONS)
        assert raw.execute("SELECT count(*) FROM inbox WHERE taken = 1").fetchone() == (1,)
    backups = [name for name in os.listdir(tmp_path) if name.endswith(".backup")]
    assert backups == ([] if version == len(MIGRATIONS) else [f"runs.db.schema-{version}.backup"])
