"""A process that runs one script until it is killed: `python -m ... FOLDER NAME MARK BACKEND`.

When the folder has a file `fork`, it forks while the script runs, and the other process, whose number it writes into
`holder`, keeps its descriptors open for good.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from llmorch.engine.steps.script import run_script
from llmorch.models.script import Script
from tests.durability.faults_wait import until
from tests.durability.scripts_left import marked


async def main(folder: Path, name: str, mark: str) -> None:
    async with anyio.create_task_group() as group:
        if (folder / "fork").exists():
            group.start_soon(fork, folder, mark)
        await run_script(Script(name, parameters={"mark": mark}), {}, path="step", roots=[folder])


async def fork(folder: Path, mark: str) -> None:
    await until(lambda: any("supervisor" not in line for line in marked(mark)))
    holder = os.fork()
    if not holder:
        signal.pause()
    (folder / "holder").write_text(str(holder))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], sys.argv[3], backend=sys.argv[4])
