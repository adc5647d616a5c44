"""The table of mutants: bugs that the tests of this project must notice."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mutants.in_control import IN_CONTROL
from tests.mutants.in_engine import IN_ENGINE
from tests.mutants.in_stores import IN_STORES
from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

MUTANTS: Mapping[str, Mutant] = {mutant.name: mutant for mutant in (*IN_ENGINE, *IN_CONTROL, *IN_STORES)}
"""Name -> mutant."""
