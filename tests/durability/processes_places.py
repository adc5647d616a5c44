"""Where the tests of several processes have their store: a file, or a database of a server of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

KINDS = ["sqlite", "postgres"]


def url_of(kind: str, folder: Path, config: pytest.Config) -> str:
    """The URL of an empty store; skips where there is no server to start."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/runs.db"
    from tests.contract.postgres_server import shared_server

    server = shared_server(config)
    return server.url(server.database())
