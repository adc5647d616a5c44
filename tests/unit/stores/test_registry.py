"""Stores by URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmorch import Orchestrator
from llmorch.stores import MemoryStore, SqliteStore, registry


def test_a_url_names_a_store(tmp_path: Path) -> None:
    assert isinstance(registry.opened("memory"), MemoryStore)
    store = registry.opened(f"sqlite:///{tmp_path}/runs.db", durability="process")
    assert isinstance(store, SqliteStore)
    assert store.path == tmp_path / "runs.db"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlit:///runs.db", "did you mean 'sqlite'?"),
        ("mysql://me:hidden@host/runs", "mysql://...@host/runs"),
        ("runs.db", "sqlite:///runs.db"),
        ("sqlite://runs.db", "names no SQLite file"),
        ("sqlite:///:memory:", "say 'memory'"),
    ],
)
def test_what_names_no_store_is_told_what_would(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"give|Give|write|say") as caught:
        Orchestrator(url)
    assert told in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(ValueError, match="'power' or 'process'"):
        Orchestrator("sqlite:///runs.db", durability="paper")  # type: ignore[arg-type]


def test_an_unknown_way_to_recover_is_refused() -> None:
    with pytest.raises(ValueError, match="'own', 'all' or False"):
        Orchestrator(recover=True)  # type: ignore[arg-type]


class Unopened:
    """A store of a package that thought of no URL."""


def test_a_registered_class_without_from_url_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_find", lambda scheme: Unopened)
    with pytest.raises(ValueError, match=r"no from_url\(url, \*, durability\)"):
        registry.opened("odd:///x")


@pytest.mark.parametrize(
    ("store", "told"),
    [(MemoryStore, r"write MemoryStore\(\.\.\.\)"), (Path("runs.db"), "sqlite:///runs.db"), (None, "RunStore")],
)
def test_what_is_no_store_is_refused_at_once(store: object, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        Orchestrator(store)  # type: ignore[arg-type]
