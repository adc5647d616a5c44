"""Processes on a PostgreSQL store are killed at random moments, and others finish what they began.

`LLMORCH_POSTGRES_KILLS` says how many kills, `LLMORCH_KILL_SEED` repeats what a failure names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest

from tests.contract.postgres_server import PostgresServer, shared_server
from tests.durability.kill_case import Ground, ground
from tests.durability.kill_fixtures import FIXTURES
from tests.durability.kill_series import series
from tests.durability.results import IS_LONG, seed_from

SEED = seed_from("LLMORCH_KILL_SEED")
KILLS = int(os.environ.get("LLMORCH_POSTGRES_KILLS") or (200 if IS_LONG else 10))


@pytest.fixture(scope="module")
def server(pytestconfig: pytest.Config) -> PostgresServer:
    return shared_server(pytestconfig)


@pytest.fixture(scope="module")
def here(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    from tests.durability.kill_postgres import PostgresPlace

    place = partial(PostgresPlace, server.url(server.database()))
    with ground(tmp_path_factory.mktemp("kills"), seed=SEED, place=place) as found:
        yield found


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_run_killed_on_postgres_ends_as_if_nothing_had_happened(
    here: Ground, server: PostgresServer, fixture: str
) -> None:
    due = -(-KILLS // len(FIXTURES))
    series(
        here, fixture, seed=SEED, due=due, store="postgres", version=server.psql("SHOW server_version").split(" ")[0]
    )
