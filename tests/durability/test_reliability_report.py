"""The report is made of the figures the proofs kept, and of nothing that belongs to one machine."""

from __future__ import annotations

import json
import socket
import tempfile
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT
from tests.durability.report import page, results_in
from tests.durability.results import environment


def result(**figures: Any) -> dict[str, Any]:
    usual = {"proof": "random kills", "store": "sqlite", "fixture": "chain", "seed": 7, "runs": 3, "kills": 5}
    faults = {"lost": 0, "changed": 1, "repeated": 0, "stuck": 0}
    return {**usual, **faults, "seconds": 1.5, **environment(), **figures}


def test_figures_of_one_proof_are_summed_for_each_store() -> None:
    shown = page([result(), result(fixture="map", kills=6), result(store="postgres", kills=9, version="15.1")])
    assert "| random kills | sqlite | 6 | 11 | 0 | 2 | 0 | 0 | 3 |" in shown
    assert "| random kills | postgres | 3 | 9 | 0 | 1 | 0 | 0 | 2 |" in shown
    assert "| sqlite | chain | 7 | 3 | 5 | 0 | 1 | 0 | 0 | 1.5 |" in shown
    assert "| 15.1 |" in shown


def test_another_proof_has_its_own_table_with_its_own_columns() -> None:
    soak = {
        "proof": "soak",
        "store": "sqlite",
        "runs": 10_000,
        "lost": 0,
        "rss_mb": 1.2,
        "seconds": 60,
        **environment(),
    }
    shown = page([result(), soak])
    assert "## Soak\n\n| store | runs | lost | rss_mb | seconds |" in shown
    assert "| sqlite | 10000 | 0 | 1.2 | 60 |" in shown


def test_what_was_proved_again_replaces_what_was_kept_before(tmp_path: Path) -> None:
    kept = [result(kills=1), result(fixture="map"), result(kills=2)]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, kept)), encoding="utf-8")
    assert [(found["fixture"], found["kills"]) for found in results_in(tmp_path)] == [("map", 5), ("chain", 2)]


def test_the_report_names_no_machine_and_no_path() -> None:
    shown = page([result()])
    for private in (socket.gethostname(), str(ROOT), str(Path.home()), tempfile.gettempdir()):
        assert f" {private}" not in shown
        assert f"{private}/" not in shown
