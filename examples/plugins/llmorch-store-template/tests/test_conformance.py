"""The store keeps every rule of llmorch's suite, and its file every commit."""

from __future__ import annotations

import itertools
from pathlib import Path

from llmorch_store_template import LinesStore

from llmorch import Orchestrator, Payload, Workflow
from llmorch.testing import ScriptedProvider, check_run_store


def test_the_store_conforms(tmp_path: Path) -> None:
    numbers = itertools.count()
    report = check_run_store(
        lambda: LinesStore(tmp_path / f"{next(numbers)}.jsonl"), reopen=lambda store: LinesStore(store.path)
    )
    print(report)


def test_a_line_that_a_dying_writer_left_unfinished_is_no_commit(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    wf = Workflow.of(Payload("draft", "x"), name="w")

    def run() -> str:
        with Orchestrator(LinesStore(path), providers=[ScriptedProvider({"draft": "A"})], model="scripted:m") as orch:
            return orch.run_sync(wf).id

    first = run()
    with path.open("ab") as file:
        file.write(b'{"delete": "' + first.encode())
    second = run()
    assert second != first
    assert b'{"delete"' not in path.read_bytes()
