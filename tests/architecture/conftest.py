"""The syntax trees of the whole package are let go of after each file of its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.architecture.tree import modules


@pytest.fixture(scope="module", autouse=True)
def _trees_let_go() -> Iterator[None]:
    """Half a million nodes would be walked in every garbage collection of every later test."""
    yield
    for module in modules():
        vars(module).pop("tree", None)
