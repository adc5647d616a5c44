"""A server that is not there, refuses, restarts or belongs to others: what is said, and that no password is in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from llmorch import ClaimLost, LLMOrchError, MissingExtra, Orchestrator, RunNotFound, StoreBusy, StoreError
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PASSWORD, PostgresServer, shared_server
from tests.unit.stores.postgres_parts import connected, made, new_schema, note, raw, until

WRONG = "wrong-canary-word"


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return new_schema()


@asynccontextmanager
async def opened(url: str, schema: str, *, patience_s: float = 60.0) -> AsyncIterator[SqlAlchemyStore]:
    store = SqlAlchemyStore(url, schema=schema, patience_s=patience_s)
    try:
        yield store
    finally:
        await store.aclose()


async def refused(store: SqlAlchemyStore) -> str:
    """What reading and writing is answered with; nothing that can be shown of it holds a password."""
    texts: list[str] = []
    for ask in (partial(store.load, "r1"), partial(made, store, "r1")):
        with pytest.raises(StoreError) as caught:
            await ask()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        cause = caught.value.__cause__
        shown += repr(cause) + str(getattr(cause, "args", ""))
        assert PASSWORD not in shown
        assert WRONG not in shown
        texts.append(caught.value.message)
    assert texts[0] == texts[1]
    return texts[0]


@pytest.mark.anyio
async def test_a_wrong_password_is_told_with_host_and_database(server: PostgresServer, schema: str) -> None:
    async with opened(server.url(password=WRONG), schema) as store:
        text = await refused(store)
    assert f"postgresql://tester:***@127.0.0.1:{server.port}/postgres" in text
    assert "cannot be reached" in text
    assert "lets this user in with this password" in text


@pytest.mark.anyio
async def test_a_database_that_is_not_there_is_told_by_name(server: PostgresServer, schema: str) -> None:
    async with opened(server.url("nowhere"), schema) as store:
        text = await refused(store)
    assert "/nowhere" in text
    assert "createdb" in text


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_told_at_once(schema: str, server: PostgresServer) -> None:
    async with opened("postgresql://ada:canary@127.0.0.1:1/runs?sslmode=disable&sslpassword=canary", schema) as store:
        text = await refused(store)
    assert "postgresql://ada:***@127.0.0.1:1/runs" in text
    assert "canary" not in text
    assert "see that a server runs at this host and port" in text


@pytest.mark.anyio
async def test_a_user_without_rights_is_told_what_is_needed(server: PostgresServer, schema: str) -> None:
    name = schema.replace("test", "user")
    server.psql(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    url = server.url(user=name)
    async with opened(url, schema) as store:
        text = await refused(store)
    assert "refused this (42501" in text
    assert "GRANT CREATE ON DATABASE" in text
    async with opened(server.url(), schema) as store:
        await made(store, "r1")
    server.psql(f"GRANT USAGE ON SCHEMA {schema} TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}")
    async with opened(url, schema) as store:
        assert (await store.load("r1")).id == "r1"  # who may only read, reads
        with pytest.raises(StoreError, match="42501"):
            await made(store, "r2")


@pytest.mark.anyio
async def test_a_database_of_another_encoding_is_refused(server: PostgresServer, schema: str) -> None:
    server.psql(f"CREATE DATABASE {schema} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    async with opened(server.url(schema), schema) as store:
        assert "keeps text as LATIN1" in await refused(store)


@pytest.mark.anyio
async def test_tables_of_others_and_of_a_newer_llmorch_are_left_alone(server: PostgresServer, schema: str) -> None:
    from llmorch.stores.sqlalchemy.schema import MIGRATIONS

    server.psql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.events(n int)")
    async with opened(server.url(), schema) as store:
        assert "holds tables of another program; give another schema=" in await refused(store)
    server.psql(f"CREATE TABLE {schema}.meta(key text, value text)")
    async with opened(server.url(), schema) as store:
        assert "holds tables of another program" in await refused(store)
    server.psql(f"INSERT INTO {schema}.meta VALUES ('llmorch.schema', '99')")
    async with opened(server.url(), schema) as store:
        text = await refused(store)
    assert f"has schema 99, and this llmorch knows schemas up to {len(MIGRATIONS)}; nothing was changed" in text
    assert server.psql(f"SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == "2"


@pytest.mark.anyio
async def test_tables_that_somebody_is_making_are_waited_for(server: PostgresServer, schema: str) -> None:
    """While they are made, they can be seen in the catalog before their version can be read."""
    from llmorch.stores.sqlalchemy.schema import MIGRATIONS, _key, version_of

    async with opened(server.url(), schema) as store:
        await made(store, "r1")
    found: list[int] = []
    session = connected(server, schema)

    async def look() -> None:
        found.append(await anyio.to_thread.run_sync(version_of, session, schema))

    with raw(server, schema) as maker:
        maker.execute("SELECT pg_advisory_lock(%s)", (_key(schema),))
        maker.execute("DELETE FROM meta")
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await anyio.sleep(0.2)
            assert not found
            maker.execute("INSERT INTO meta VALUES ('llmorch.schema', %s)", (str(len(MIGRATIONS)),))
            maker.execute("SELECT pg_advisory_unlock(%s)", (_key(schema),))
    session.close()
    assert found == [len(MIGRATIONS)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:canary@ary@db.example/runs",
        "postgresql://ada:canary@db.example:canary/runs",
        "mysql://ada:canary@db.example/runs",
        "postgresql+asyncpg://ada:canary@db.example/runs",
        "canary",
    ],
)
def test_a_url_that_cannot_be_used_is_not_repeated(server: PostgresServer, url: str) -> None:
    with pytest.raises(ValueError) as caught:
        SqlAlchemyStore.from_url(url)
    shown = "".join(traceback.format_exception(caught.value)).partition("ValueError: ")[2]
    assert "write 'postgresql://user:password@localhost:5432/database'" in shown
    assert not any(word in shown for word in ("canary", "ary@"))


@pytest.mark.parametrize(
    "url", ["postgresql://ada:canary@h:1/d", "postgresql+psycopg://ada:canary@h:1/d?sslmode=require"]
)
def test_both_schemes_mean_psycopg(server: PostgresServer, url: str) -> None:
    store = SqlAlchemyStore.from_url(url, durability="process", owner="me")
    assert (store.where, store.owner) == ("postgresql://ada:***@h:1/d", "me")


@pytest.mark.anyio
async def test_an_orchestrator_opens_it_by_its_url(server: PostgresServer) -> None:
    url = server.url(server.database())
    async with Orchestrator(url) as orchestrator:
        assert await orchestrator.runs() == []


@pytest.mark.parametrize("missing", ["sqlalchemy", "psycopg"])
def test_a_missing_extra_is_told_with_the_pip_line(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=r"pip install 'llmorch\[postgres\]'"):
        SqlAlchemyStore("postgresql://ada@db.example/runs")


def test_naming_the_store_loads_no_driver() -> None:
    code = "import sys, llmorch.stores.sqlalchemy; print({'sqlalchemy', 'psycopg'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "set()"


@pytest.mark.anyio
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_units_go_on_when_the_server_is_restarted(
    server: PostgresServer, schema: str, how: signal.Signals
) -> None:
    async with opened(server.url(), schema) as store:
        claim = await made(store, "r1")
        ends = 400

        async def grow() -> None:
            while claim.last_seq < ends:
                claim.last_seq = (await store.append(claim, [note("r1", claim.last_seq + 1)])).last_seq

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grow)
            await until(lambda: claim.last_seq > 20)
            await anyio.to_thread.run_sync(server.stop, how)
            acknowledged = claim.last_seq
            assert acknowledged < ends
            tasks.start_soon(store.load, "r1")  # who reads waits for it, too
            await until(lambda: store.trouble == "store-failing")
            server.start()
        assert [event.seq for event in await store.events("r1")] == list(range(1, ends + 1))
        assert (await store.load("r1")).owner == store.owner
        assert store.trouble is None


@pytest.mark.anyio
async def test_whoever_cannot_wait_for_a_lost_server_is_told_so(server: PostgresServer, schema: str) -> None:
    async with opened(server.url(), schema, patience_s=0.3) as store:
        await made(store, "r1")
        await store.load("r1")
        await anyio.to_thread.run_sync(server.stop)
        try:
            for ask in (partial(store.load, "r1"), partial(made, store, "r2"), partial(store.claim, "r1", "other")):
                with pytest.raises(StoreBusy, match=r"could not be reached for 0\.3 s") as caught:
                    await ask()
                assert PASSWORD not in "".join(traceback.format_exception(caught.value))
        finally:
            server.start()
        assert (await store.load("r1")).id == "r1"
        with pytest.raises(RunNotFound):
            await store.load("r2")


@pytest.mark.anyio
async def test_a_migration_that_fails_leaves_everything_as_it_was(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmorch.stores.sqlalchemy import schema as tables

    async with opened(server.url(), schema) as store:
        await made(store, "r1")
    newest = len(tables.MIGRATIONS)
    broken = (*tables.MIGRATIONS, ("CREATE TABLE more(n int)", "SELECT 1 / 0"))
    mended = (*tables.MIGRATIONS, ("CREATE TABLE more(n int)",))
    async with opened(server.url(), schema) as store:
        session = store._parts.writer._link.opened()  # no job runs yet
        with pytest.raises(Exception, match="division by zero"):
            tables.migrate(session, schema, migrations=broken)
        session.rollback()
        assert tables.version_of(session, schema) == newest
        tables.migrate(session, schema, migrations=mended)
        assert tables.version_of(session, schema, newest=newest + 1) == newest + 1
        with pytest.raises(LLMOrchError, match=f"has schema {newest + 1}, .* up to {newest}"):
            tables.version_of(session, schema)
        assert session.row("SELECT count(*) FROM more") == (0,)


@pytest.mark.anyio
async def test_what_the_server_set_for_its_users_does_not_change_the_store(server: PostgresServer, schema: str) -> None:
    database = server.database()
    for setting in (
        "default_transaction_isolation TO serializable", "synchronous_commit TO off", "bytea_output TO escape",
        "search_path TO nowhere", "timezone TO 'Asia/Tokyo'", "DateStyle TO 'German'", "client_encoding TO LATIN1",
        "standard_conforming_strings TO off", "lock_timeout TO 1",
    ):  # fmt: skip
        server.psql(f"ALTER DATABASE {database} SET {setting}")
    async with opened(server.url(database), schema) as store:
        claim = await made(store, "r1")
        await store.append(claim, [note("r1", 2, "Grüße, 東京 \\ ' \0")])
        assert [event.text for event in (await store.events("r1"))[1:]] == ["Grüße, 東京 \\ ' \0"]  # type: ignore[attr-defined]
        session = store._parts.writer._link.session
        assert session is not None
        assert session.row("SHOW synchronous_commit") == ("on",)
        assert session.row("SHOW transaction_isolation") == ("read committed",)
        session.rollback()
        with pytest.raises(ClaimLost):
            await store.claim("r1", "other")


@pytest.mark.anyio
async def test_the_promise_about_durability_reaches_the_server(server: PostgresServer, schema: str) -> None:
    for durability, wanted in (("process", "off"), ("power", "on")):
        store = SqlAlchemyStore(server.url(), schema=schema, durability=durability)  # type: ignore[arg-type]
        await made(store, f"r-{durability}")
        session = store._parts.writer._link.session
        assert session is not None
        assert session.row("SHOW synchronous_commit") == (wanted,)
        session.rollback()
        await store.aclose()
    with raw(server, schema) as somebody:
        assert somebody.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    with pytest.raises(ValueError, match="'power' or 'process'"):
        SqlAlchemyStore(server.url(), durability="disk")  # type: ignore[arg-type]
