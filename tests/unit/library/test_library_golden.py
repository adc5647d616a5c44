"""The written form of documents is frozen: what one version wrote, every later one reads, and writes alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmorch.documents import Use, encode
from llmorch.library import Collection
from llmorch.stores.memory_library import MemoryLibrary
from llmorch.stores.sqlite.library import SqliteLibrary
from tests.unit.library.golden_texts import FOLDER, texts
from tests.unit.library.library_parts import CODE, DRAFT, FIRST_US, VOICE, flow

pytestmark = pytest.mark.anyio


async def test_what_is_written_is_what_the_golden_files_hold() -> None:
    found = await texts()
    assert {path.name for path in FOLDER.iterdir()} == set(found)
    for name, text in found.items():
        kept = (FOLDER / name).read_text(encoding="utf-8")
        assert text == kept, (
            f"the written form of {name} changed; what was released must still be read, so add a format"
        )


@pytest.mark.parametrize("name", ["library.json", "library.yaml"])
async def test_a_golden_library_is_read_and_written_as_it_was(tmp_path: Path, name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    for library in (MemoryLibrary(), SqliteLibrary(tmp_path / "library.db", durability="process")):
        async with Collection(library, code=CODE) as one:
            await one.import_(text)
            assert await one.export(format="json" if name.endswith("json") else "yaml") == text
            assert await one.block("voice") == VOICE
            assert (await one.block("voice", version=1)).text == "Older."
            assert await one.payload("draft", version=1) == DRAFT
            assert (await one.payload("short")).temperature == 0
            assert (await one.workflow("article-to-post")).to_dict() == flow().to_dict()
            draft = await one.document("payload", "draft")
            assert draft.uses == (Use("block", "voice", version=2, folder="Phase 1/Tone"),)
            assert (draft.created_at, draft.updated_at) == (FIRST_US + 3_000_000, FIRST_US + 7_000_000)
            assert [document.name for document in await one.list(deleted=True)] == ["gone"]


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("block.json", "block", VOICE),
        ("payload.json", "payload", DRAFT),
        ("workflow.json", "workflow", flow().to_dict()),
    ],
)
async def test_a_golden_document_is_the_value_it_was(name: str, kind: str, wanted: object) -> None:
    one = Collection(MemoryLibrary(), code=CODE)
    await one.import_((FOLDER / name).read_text(encoding="utf-8"))
    match kind:
        case "block":
            assert await one.block("voice") == wanted
        case "payload":
            assert await one.payload("draft") == wanted
        case _:
            assert (await one.workflow("article-to-post")).to_dict() == wanted


async def test_the_line_that_stores_keep_is_frozen_too() -> None:
    """It is compared byte by byte, so another form of the same content would be another version."""
    one = Collection(MemoryLibrary(), code=CODE)
    await one.save(VOICE)
    line = encode(await one.document("block", "voice"))
    assert line == (
        b'{"body":{"llmorch":1,'
        b'"text":"You write in {{ style }} style.\\n\\nBe brief, Gr\\u00fc\\u00dfe \\ud83d\\ude00.\\n",'
        b'"role":"system","defaults":{"style":"plain","n":0,"off":false,"none":null,"empty":"",'
        b'"big":1180591620717411303424}},"tags":["tone","syst\\u00e8me"],"description":"How we sound."}'
    )
