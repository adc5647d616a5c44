"""Each method of the store fails, before and after its commit, comes late or loses its caller: nothing is lost."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import anyio
import pytest

from llmorch.errors import StoreError
from tests.durability.faults_scenario import Ground, Kind, Scene, check, disturbed
from tests.durability.faults_store import METHODS, MODES, Disturbance, Mode

LONG = os.environ.get("LLMORCH_LONG") == "1"
SCENES: tuple[Scene, ...] = ("run", "resume")
USED = {"aclose", "append", "claim", "create", "events", "list_runs", "load"}


def most(kind: Kind, method: str) -> int:
    """How many calls of a method are disturbed, one after the other: all, as long as that is quick."""
    if LONG or (kind, method) == ("memory", "append"):
        return 1000
    return 6 if method == "append" else 2


def fault_of(ground: Ground, scene: Scene, disturbance: Disturbance, backend: str) -> str:
    """What is wrong after a run with this disturbance."""
    try:
        told = anyio.run(disturbed, ground, scene, disturbance, backend=backend)
        check(told)
    except Exception as error:  # all of them are told together
        return f"{scene}, {disturbance}: {type(error).__name__}: {str(error)[:600]}"
    if told.error is not None and not isinstance(told.error, StoreError):
        return f"{scene}, {disturbance}: {told.error!r} was raised"
    if disturbance.method == "append" and disturbance.mode in ("before", "after", "late") and told.error is not None:
        return f"{scene}, {disturbance}: {told.error!r} was raised; the same unit must be tried again"
    return ""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_a_method_does_the_run_ends_as_ever_and_nothing_is_done_twice(
    backend: str, kind: Kind, method: str, tmp_path: Path
) -> None:
    faults: list[str] = []
    fired = 0
    places: list[tuple[Scene, Mode]] = list(product(SCENES, MODES))
    for scene, mode in places:
        for at in range(1, most(kind, method) + 1):
            disturbance = Disturbance(mode, method, at=at)
            folder = tmp_path / f"{scene}-{mode}-{at}"
            folder.mkdir()
            fault = fault_of(Ground(kind, folder), scene, disturbance, backend)
            faults += [fault] if fault else []
            if not disturbance.fired:
                break
            fired += 1
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    if not fired:
        assert method not in USED
        pytest.skip(f"neither a run nor a resume calls {method}()")
