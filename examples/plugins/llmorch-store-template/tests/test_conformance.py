"""The store and the library keep every rule of llmorch's suites, and their file every commit."""

from __future__ import annotations

import itertools
from pathlib import Path

import anyio
from llmorch_store_template import LinesLibrary, LinesStore

from llmorch import Orchestrator, Payload, Workflow
from llmorch.documents import Document
from llmorch.testing import ScriptedProvider, check_library, check_run_store


def test_the_store_conforms(tmp_path: Path) -> None:
    numbers = itertools.count()
    report = check_run_store(
        lambda: LinesStore(tmp_path / f"{next(numbers)}.jsonl"), reopen=lambda store: LinesStore(store.path)
    )
    print(report)


def test_the_library_conforms(tmp_path: Path) -> None:
    numbers = itertools.count()
    report = check_library(
        lambda: LinesLibrary(tmp_path / f"{next(numbers)}.jsonl"), reopen=lambda library: LinesLibrary(library.path)
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


def test_numbers_of_purged_documents_are_not_given_to_others(tmp_path: Path) -> None:
    async def main() -> list[str]:
        for name in ("first", "second"):
            library = LinesLibrary(tmp_path / "library.jsonl")
            await library.put(Document("block", name, {"text": name}))
            await library.delete("block", name)
            await library.purge()
            await library.aclose()
        return [line for line in library.path.read_text().splitlines() if "key" in line]

    first, second = anyio.run(main)
    assert '"n": 1' in first
    assert '"n": 2' in second
