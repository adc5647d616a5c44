"""The library in PostgreSQL keeps every rule of libraries, beside runs, and among processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

import anyio
import pytest

from llmorch import Block, Payload
from llmorch.documents import Document, DocumentConflict, DocumentInUse, DocumentNotFound, Use
from llmorch.errors import StoreBusy, StoreCorrupt
from llmorch.library import Collection
from llmorch.stores.sqlalchemy import SqlAlchemyLibrary, SqlAlchemyStore
from llmorch.testing import check_library
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.unit.stores.postgres_parts import connected, heard, made, new_schema, note, proxy, raw, tell

VOICE = Document("block", "voice", {"text": "Be brief."})
DRAFT = Document("payload", "draft", {"blocks": ["x"]}, uses=(Use("block", "voice", version=1),))


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return new_schema()


@asynccontextmanager
async def opened(
    server: PostgresServer, schema: str, *, url: str | None = None, patience_s: float = 60.0
) -> AsyncIterator[SqlAlchemyLibrary]:
    store = SqlAlchemyStore(url or server.url(), schema=schema, durability="process", patience_s=patience_s)
    try:
        yield SqlAlchemyLibrary(store)
    finally:
        await store.aclose()


def test_the_postgres_library_keeps_every_rule(server: PostgresServer) -> None:
    schemas: dict[SqlAlchemyLibrary, str] = {}

    def made() -> SqlAlchemyLibrary:
        schema = new_schema()
        library = SqlAlchemyLibrary(server.url(), schema=schema)
        schemas[library] = schema
        return library

    def again(library: object) -> SqlAlchemyLibrary:
        assert isinstance(library, SqlAlchemyLibrary)
        return SqlAlchemyLibrary(server.url(), schema=schemas[library])

    report = check_library(made, reopen=again, limit_s=30)
    assert report.skipped == {}
    assert len(report.passed) == 28
    assert {one.backend for one in report.checks} == {"asyncio", "trio"}


@pytest.mark.anyio
async def test_runs_and_documents_share_a_schema_and_land_at_once(server: PostgresServer, schema: str) -> None:
    store = SqlAlchemyStore(server.url(), schema=schema, durability="process")
    library = SqlAlchemyLibrary(store)
    claim = await made(store)

    async def run() -> None:
        for seq in range(2, 32):
            claim.last_seq = (await store.append(claim, [note("r1", seq)])).last_seq

    async def save() -> None:
        for number in range(30):
            await library.put(Document("block", "voice", {"text": f"{number}"}), expected=number)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(save)
    await library.aclose()
    assert len(await store.events("r1")) == 31  # the store is open still
    assert len(await library.versions("block", "voice")) == 30
    await store.aclose()


@pytest.mark.anyio
async def test_blocks_and_payloads_come_back_as_they_were_saved(server: PostgresServer, schema: str) -> None:
    voice = Block("voice", "Write plainly: Grüße, 東京 \\ \0", role="system", tags=["tone"], folder="House style")
    draft = Payload("draft", voice, "Describe {{ place }}.", temperature=0)
    async with Collection(SqlAlchemyLibrary(server.url(), schema=schema)) as library:
        await library.save(voice)
        saved = await library.save(draft)
        assert saved.uses == (Use("block", "voice", version=1, folder="House style"),)
    async with Collection(SqlAlchemyLibrary(server.url(), schema=schema)) as library:
        assert await library.block("voice") == voice
        assert await library.payload("draft") == draft


@contextmanager
def child(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, *words]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


CHILD = """
import sys
import anyio
from llmorch.documents import Document, DocumentConflict
from llmorch.stores.sqlalchemy import SqlAlchemyLibrary

async def main(url, schema, me, rounds):
    library = SqlAlchemyLibrary(url, schema=schema, durability="process")
    await library.list()
    print("ready", flush=True)
    sys.stdin.readline()
    won = []
    for expected in range(int(rounds)):
        try:
            await library.put(Document("block", "voice", {"by": me, "round": expected}), expected=expected)
            won.append(expected)
        except DocumentConflict as error:
            assert error.version > expected, error
        await library.put(Document("block", "shared", {"by": me, "round": expected}))
    await library.aclose()
    print(*won, flush=True)

anyio.run(main, *sys.argv[1:])
"""


def test_of_several_processes_one_wins_each_version_and_who_expects_nothing_always_lands(
    server: PostgresServer, schema: str
) -> None:
    rounds, processes = 12, 3
    with ExitStack() as stack:
        children = [stack.enter_context(child(server.url(), schema, str(me), str(rounds))) for me in range(processes)]
        for one in children:
            assert heard(one) == "ready"
        for one in children:
            tell(one)
        ends = [one.communicate(timeout=60)[0] for one in children]

    async def kept(name: str) -> Sequence[Document]:
        async with opened(server, schema) as library:
            return await library.versions("block", name)

    won = sorted((int(version), me) for me, end in enumerate(ends) for version in end.split())
    assert [version for version, _ in won] == list(range(rounds))
    found = [(one.body["round"], one.body["by"]) for one in anyio.run(kept, "voice")]
    assert found == [(number, str(me)) for number, me in won]
    shared = anyio.run(kept, "shared")
    assert [one.version for one in shared] == list(range(1, rounds * processes + 1))
    assert len({str(one.body) for one in shared}) == rounds * processes


@pytest.mark.anyio
async def test_what_was_committed_without_an_answer_is_not_done_twice(server: PostgresServer, schema: str) -> None:
    with proxy(server) as between:
        async with opened(server, schema, url=between.url()) as library:
            await library.list()
            between.loses_replies = 1
            assert (await library.put(VOICE, expected=0)).version == 1
            between.loses_replies = 1
            assert (await library.put(Document("block", "voice", {"text": "Two."}), expected=1)).version == 2
            between.loses_replies = 1
            assert (await library.rename("block", "voice", to="tone")).name == "tone"
            between.loses_replies = 1
            await library.delete("block", "tone", at=5)
            between.loses_replies = 1
            assert (await library.put(Document("block", "tone", {"text": "Two."}), expected=0)).version == 2
            await library.delete("block", "tone")
            between.loses_replies = 1
            assert await library.purge() == 1
            assert between.lost == 6
            assert await library.list(deleted=None) == []


@pytest.mark.anyio
async def test_whoever_writes_documents_holds_up_neither_runs_nor_other_schemas(
    server: PostgresServer, schema: str
) -> None:
    from llmorch.stores.sqlalchemy import library_units

    async with opened(server, schema, patience_s=0.4) as library, opened(server, new_schema(), patience_s=5) as other:
        await library.put(VOICE)
        await other.put(VOICE)
        claim = await made(library._store)
        with raw(server, schema) as somebody, somebody.transaction():
            assert somebody.execute(library_units._LOCK, {"space": library_units._SPACE}).fetchone() == (True,)
            with pytest.raises(StoreBusy, match=r"stayed locked for 0\.4 s .*another session writes documents"):
                await library.put(DRAFT)
            assert (await library._store.append(claim, [note("r1", 2)])).last_seq == 2
            assert len(await library.list()) == 1
            assert (await other.put(DRAFT)).version == 1
        assert (await library.put(DRAFT)).version == 1


@pytest.mark.anyio
async def test_the_longest_names_are_kept_apart(server: PostgresServer, schema: str) -> None:
    folder = "".join(chr(0x4E00 + at * 7 % 20_000) for at in range(1_000))
    names = ["".join(chr(0x4E00 + at * at % 20_000) for at in range(199)) + last for last in "ab"]
    async with opened(server, schema) as library:
        for name in names:
            await library.put(Document("block", name, {"text": name}, folder=folder), expected=0)
        assert [one.name for one in await library.list(folder=folder)] == names
        with pytest.raises(DocumentConflict, match="is there already"):
            await library.rename("block", names[0], to=names[1], folder=folder)
        with raw(server, schema) as somebody, pytest.raises(Exception, match="documents_key"):
            somebody.execute("UPDATE documents SET name = %s", [names[0]])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE document_versions SET data = convert_to(replace(convert_from(data, 'UTF8'), 'brief', 'blunt'), 'UTF8')",
        "UPDATE document_versions SET sum = sum || 'x'",
        "UPDATE documents SET kind = 'workflow' WHERE kind = 'block'",
    ],
)
async def test_what_was_changed_behind_the_librarys_back_is_found(
    server: PostgresServer, schema: str, statement: str
) -> None:
    async with opened(server, schema) as library:
        await library.put(VOICE)
        with raw(server, schema) as somebody:
            somebody.execute(statement)
        with pytest.raises(StoreCorrupt, match="is not what was written: its checksum differs; nothing was changed"):
            await library.list()


@pytest.mark.anyio
async def test_foreign_keys_are_enforced_and_purging_leaves_no_row_behind(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as library:
        await library.put(VOICE)
        await library.put(DRAFT)
        with raw(server, schema) as somebody:
            for statement in (
                "DELETE FROM documents WHERE kind = 'block'",  # a payload was made of it
                "INSERT INTO document_uses VALUES (2, 7, 99)",
                "INSERT INTO document_versions(document, version, at, data, sum) VALUES (99, 1, 1, '', '')",
            ):
                with pytest.raises(Exception, match="violates foreign key constraint"):
                    somebody.execute(statement)
            with pytest.raises(DocumentInUse, match=r"is used by payload 'draft'; take it out of them first"):
                await library.delete("block", "voice")
            await library.delete("payload", "draft")
            await library.delete("block", "voice")
            assert await library.purge() == 2
            with pytest.raises(DocumentNotFound):
                await library.versions("block", "voice")
            for table in ("documents", "document_versions", "document_uses"):
                assert somebody.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.anyio
async def test_a_store_of_the_first_schema_gets_a_library_and_keeps_its_runs(
    server: PostgresServer, schema: str
) -> None:
    from llmorch.stores.sqlalchemy.schema import MIGRATIONS, migrate, version_of

    async with opened(server, schema) as library:
        bare = connected(server, schema)
        migrate(bare, schema, migrations=MIGRATIONS[:1])
        assert version_of(bare, schema) == 1
        bare.run(
            "INSERT INTO runs(id, workflow, inputs_sha, status, epoch, last_seq, tags, created_at, totals) "
            "VALUES ('r1', 'w', '', 'running', 1, 0, '{}', 5, '{}')"
        )
        bare.commit()
        assert await library.list() == []  # a reader has it brought up to date
        assert version_of(bare, schema) == 2
        bare.close()
        await library.put(VOICE)
        row = await library._store.load("r1")
        assert (row.created_at, row.status) == (5, "running")
