"""Who owns a run: leases by the clock of the server, renewed by a thread of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from llmorch import ClaimLost, StoreBusy
from llmorch.ports import Claim
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.unit.stores.postgres_parts import made, new_schema, note, raw, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture
def schema() -> str:
    return new_schema()


@asynccontextmanager
async def opened(
    server: PostgresServer, schema: str, *, lease_s: float = 1.0, renew_s: float = 0.3, patience_s: float = 60.0
) -> AsyncIterator[SqlAlchemyStore]:
    store = SqlAlchemyStore(server.url(), schema=schema, lease_s=lease_s, renew_s=renew_s, patience_s=patience_s)
    try:
        yield store
    finally:
        await store.aclose()


async def test_a_claim_is_renewed_for_as_long_as_its_store_lives(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema, lease_s=3.0) as store, opened(server, schema) as other:
        await made(store, "r1")
        first = (await store.load("r1")).lease_until
        assert first is not None
        ends = first + 7_500_000

        async def is_renewed_often() -> bool:
            row = await other.load("r1")
            assert row.owner == store.owner
            with pytest.raises(ClaimLost, match=store.owner):
                await other.claim("r1", other.owner)
            return row.lease_until is not None and row.lease_until > ends

        await until(is_renewed_often)
        assert (await store.load("r1")).epoch == 1


async def test_a_lease_ends_by_the_clock_of_the_server(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server, schema) as store, opened(server, schema) as other:
        await made(store, "r1")
        monkeypatch.setattr("llmorch._clock.now_us", lambda: 2**60)
        assert await other.recoverable(now=2**60) == []
        store._parts.leases.drop("r1", 1)  # it is not renewed any more

        async def is_over() -> bool:
            return [row.id for row in await other.recoverable(now=0)] == ["r1"]

        await until(is_over)
        row = await other.load("r1")
        assert (row.owner, row.lease_until, row.status) == (None, None, "running")
        assert (await other.claim("r1", other.owner)).epoch == 2
        assert (await other.load("r1")).recoveries == 1


async def test_a_unit_renews_the_lease_of_its_run(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema, lease_s=600, renew_s=500) as store:
        claim = await made(store, "r1")
        before = (await store.load("r1")).lease_until
        await store.append(claim, [note("r1", 2)])
        after = (await store.load("r1")).lease_until
        assert before is not None
        assert after is not None
        assert after > before


async def test_a_claim_that_was_taken_is_renewed_no_more(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema) as store, opened(server, schema) as other:
        claim = await made(store, "r1")
        await other.claim("r1", other.owner, takeover=True)
        await until(lambda: not store._parts.leases.held())
        with pytest.raises(ClaimLost, match=other.owner):
            await store.renew(claim)
        with pytest.raises(ClaimLost, match=other.owner):
            await store.append(claim, [note("r1", 2)])
        await other.renew(Claim("r1", 2, 1))
        taken = (await other.load("r1")).lease_until
        assert taken is not None

        async def is_renewed() -> bool:
            row = await other.load("r1")
            assert row.owner == other.owner
            return row.lease_until is not None and row.lease_until > taken + 1_500_000

        await until(is_renewed)


async def test_a_claim_does_not_wait_in_line_behind_who_writes_the_run(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema, patience_s=0.3) as store:
        await made(store, "r1")
        await made(store, "free", owner=None)
        with raw(server, schema) as somebody, somebody.transaction():
            somebody.execute("SELECT 1 FROM runs FOR UPDATE")
            with pytest.raises(ClaimLost, match=store.owner):  # it lives, whoever holds the row
                await store.claim("r1", "other")
            with pytest.raises(StoreBusy, match=r"stayed locked for 0\.3 s"):
                await store.claim("free", "other")
            assert (await store.load("free")).epoch == 1
        assert (await store.claim("free", "other")).epoch == 2


async def test_a_row_that_is_locked_does_not_keep_other_leases_from_being_renewed(
    server: PostgresServer, schema: str
) -> None:
    async with opened(server, schema) as store:
        await made(store, "r1")
        await made(store, "r2")
        first = (await store.load("r2")).lease_until
        assert first is not None
        with raw(server, schema) as somebody, somebody.transaction():
            somebody.execute("SELECT 1 FROM runs WHERE id = 'r1' FOR UPDATE")

            async def is_renewed() -> bool:
                return ((await store.load("r2")).lease_until or 0) > first + 1_500_000

            await until(is_renewed)

        async def is_renewed_again() -> bool:
            return (await store.load("r1")).owner == store.owner

        await until(is_renewed_again)  # nobody took it meanwhile
        assert (await store.load("r1")).epoch == 1


async def test_renewals_go_on_over_a_new_connection(server: PostgresServer, schema: str) -> None:
    async with opened(server, schema, lease_s=3.0, renew_s=0.3) as store:
        await made(store, "r1")
        await until(lambda: store._parts.revision.is_listening)
        with raw(server, schema) as somebody:
            lost = somebody.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'llmorch'"
            ).fetchone()
            assert lost is not None
        first = (await store.load("r1")).lease_until
        assert first is not None

        async def is_renewed() -> bool:
            return ((await store.load("r1")).lease_until or 0) > first + 1_000_000

        await until(is_renewed)


async def test_a_claim_whose_caller_was_cancelled_is_left_to_others_at_once(
    server: PostgresServer, schema: str
) -> None:
    async with opened(server, schema, lease_s=600, renew_s=500) as store:
        for number in range(20):
            name = f"r{number}"
            await made(store, name, owner=None)
            claim: Claim | None = None
            with anyio.move_on_after(0.0004 * number):
                claim = await store.claim(name, store.owner)
            if claim is None:

                async def is_free(name: str = name) -> bool:
                    return (await store.load(name)).owner is None

                await until(is_free)
                await store.claim(name, "other")


async def test_leases_are_renewed_before_they_end(server: PostgresServer) -> None:
    with pytest.raises(ValueError, match="must be renewed in less time"):
        SqlAlchemyStore("postgresql://localhost/x", lease_s=10, renew_s=10)
