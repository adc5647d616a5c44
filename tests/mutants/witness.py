"""A pytest plugin that tells the runner of mutants what became of each test, and what code the tests were of."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ORDERS", "base_of"]

ORDERS = "MUTANTS_ORDERS"
"""The environment variable with the orders: `package`, the folder that must be imported; `module`, of the mutant;
`told`, the file to write to."""


def base_of(node: str) -> str:
    """The test without its parameters."""
    return node.partition("[")[0]


class Witness:
    """Notes outcomes; a test that has failed once is not asked with other parameters."""

    def __init__(self, orders: dict[str, str]) -> None:
        self._orders = orders
        self._failed: set[str] = set()
        self._seen: list[dict[str, str]] = []

    def pytest_configure(self) -> None:
        package = Path(self._orders["package"])
        name = self._orders["module"]
        show = [sys.executable, "-c", f"import {name} as found; print(found.__file__)"]
        in_child = subprocess.run(show, capture_output=True, text=True, check=False, timeout=60)
        places = [importlib.import_module(name).__file__ or "", in_child.stdout.strip() or in_child.stderr]
        for place in places:
            if not Path(place).resolve().is_relative_to(package.resolve()):
                raise pytest.UsageError(f"{name} is imported from {place}, not from the copy at {package}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if base_of(item.nodeid) in self._failed:
            pytest.skip("it has failed with other parameters")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self._failed.add(base_of(item.nodeid))
        why = "" if call.excinfo is None else f"{call.excinfo.typename}: {call.excinfo.value}"
        if report.when == "call" or not report.passed:
            error = "" if call.excinfo is None else call.excinfo.typename
            self._tell(test=item.nodeid, outcome=report.outcome, when=report.when, error=error, why=why)
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell(
                test=report.nodeid,
                outcome="failed",
                when="collect",
                error="",
                why=report.longreprtext.strip().rpartition("\n")[2],
            )

    def _tell(self, **what: Any) -> None:
        with Path(self._orders["told"]).open("a", encoding="utf-8") as told:
            told.write(json.dumps(what) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Begin, where there are orders."""
    orders = os.environ.get(ORDERS)
    if orders is not None:
        witness = Witness(json.loads(orders))
        config.pluginmanager.register(witness, "witness of mutants")
