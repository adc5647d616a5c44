"""Leases of a process whose clock is wrong: they are given and taken by the clock of the server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from llmorch import ClaimLost
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PostgresServer, shared_server
from tests.unit.stores.postgres_parts import made, new_schema, note, raw, until

pytestmark = pytest.mark.anyio

HOUR_NS = 3_600 * 10**9
LEASE_S = 1.0
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@asynccontextmanager
async def opened(server: PostgresServer, schema: str) -> AsyncIterator[SqlAlchemyStore]:
    store = SqlAlchemyStore(server.url(), schema=schema, lease_s=LEASE_S, renew_s=LEASE_S / 4)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.mark.parametrize("wrong_ns", [HOUR_NS, -HOUR_NS])
async def test_a_wrong_clock_changes_nothing_about_who_owns_a_run(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, wrong_ns: int
) -> None:
    schema, right = new_schema(), time.time_ns
    async with opened(server, schema) as store, opened(server, schema) as other:
        monkeypatch.setattr("time.time_ns", lambda: right() + wrong_ns)

        def check_lease() -> None:
            """The lease ends within its length from now, as the server counts."""
            left = lease_left(server, schema, "r1")
            assert 0 < left <= LEASE_S * 1_000_000

        claim = await made(store, "r1")
        check_lease()
        await store.append(claim, [note("r1", 2)])
        check_lease()
        await store.renew(claim)
        check_lease()
        assert await other.recoverable(now=time.time_ns() // 1000) == []
        with pytest.raises(ClaimLost, match=store.owner):
            await other.claim("r1", other.owner)

        store._parts.leases.drop("r1", 1)  # it is not renewed any more

        async def is_over() -> bool:
            return [row.id for row in await other.recoverable(now=0)] == ["r1"]

        await until(is_over)
        assert lease_left(server, schema, "r1") <= 0
        assert (await other.claim("r1", other.owner)).epoch == 2
        check_lease()


def lease_left(server: PostgresServer, schema: str, run_id: str) -> int:
    """Microseconds to the end of the lease."""
    with raw(server, schema) as connection:
        found = connection.execute(f"SELECT lease_until - {NOW} FROM runs WHERE id = %s", (run_id,)).fetchone()
    assert found is not None
    return int(str(found[0]))
