"""Thousands of short runs at once: nothing is lost, and the process does not grow.

With `LLMORCH_LONG=1` in the environment 10 000 runs, else 200, of which the growth of memory says nothing.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import ROOT
from tests.durability.soak_child import STEPS

LONG = os.environ.get("LLMORCH_LONG") == "1"
RUNS = int(os.environ.get("SOAK_RUNS", "10000" if LONG else "200"))
AT_ONCE = 64
SAMPLES = 20
WARM = 6  # samples until caches have their size
GROWTH_KB = 5 * 1024
LIMIT_S = 600 if LONG else 90


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory and descriptors are read from /proc")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_runs_lose_nothing_and_leave_nothing(backend: str, tmp_path: Path) -> None:
    given = os.environ.get("SOAK_SEED", "")
    seed = int(given) if given else random.SystemRandom().randrange(2**32)
    task = {"path": str(tmp_path / "runs.db"), "runs": RUNS, "at_once": AT_ONCE, "seed": seed, "samples": SAMPLES}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.durability.soak_child", json.dumps(task | {"backend": backend})],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * LIMIT_S,
    )  # fmt: skip
    assert ran.returncode == 0, f"SOAK_SEED={seed}\n{ran.stderr[-3_000:]}"
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    seen = told.pop("samples")
    print(told, *seen, sep="\n")
    assert (told["runs"], told["listed"]) == (RUNS, RUNS), told
    assert not told["faults"], told
    assert told["sent"] - told["failed"] == RUNS * STEPS, told
    assert told["failed"] > 0, told
    assert told["seconds"] <= LIMIT_S, told
    for what in ("descriptors", "threads"):
        warm = [sample[what] for sample in seen[WARM:]]
        assert max(warm) - min(warm) <= 1, f"SOAK_SEED={seed}: {what} {[sample[what] for sample in seen]}"
    if LONG:
        growth = max(sample["rss"] for sample in seen[-3:]) - seen[WARM]["rss"]
        assert growth <= GROWTH_KB, f"SOAK_SEED={seed}: grew by {growth} KiB: {[sample['rss'] for sample in seen]}"
