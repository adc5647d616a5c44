"""A folder of text files becomes blocks, folders included, and what is no block is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmorch.documents import DocumentInvalid
from llmorch.library import Collection
from llmorch.library_folder import blocks_in
from llmorch.stores.memory_library import MemoryLibrary

pytestmark = pytest.mark.anyio


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


async def test_files_become_blocks_with_their_front_matter_and_folders(tmp_path: Path) -> None:
    written(
        tmp_path,
        voice_dot_md="---\nrole: system\ntags: [tone, art]\ndescription: How.\ndefaults: {n: 0}\n---\nBe brief.\n",
        tone__kind_dot_txt="Be kind.\n",
        tone__deep__own_dot_md="---\nname: other\nfolder: Elsewhere\n---\nx",
        notes_dot_pdf="no text",
        _dot_hidden_dot_md="hidden",
        _dot_git__x_dot_md="hidden",
    )
    one = Collection(MemoryLibrary())
    outcome = await one.load_blocks(tmp_path, into="Phase 1")
    assert str(outcome) == "3 added, 0 changed, 0 the same"
    voice = await one.block("voice", folder="Phase 1")
    assert (voice.role, voice.tags, voice.description, voice.default_data) == (
        "system",
        ("tone", "art"),
        "How.",
        {"n": 0},
    )
    assert voice.text == "Be brief.\n"
    assert (await one.block("kind")).folder == "Phase 1/tone"
    assert (await one.block("other")).folder == "Elsewhere"
    assert {document.name for document in await one.list()} == {"voice", "kind", "other"}


async def test_a_folder_is_loaded_again_and_only_what_changed_is_a_version(tmp_path: Path) -> None:
    written(tmp_path, a_dot_md="a", b_dot_md="b")
    one = Collection(MemoryLibrary())
    await one.load_blocks(tmp_path)
    written(tmp_path, b_dot_md="B", c_dot_md="c")
    outcome = await one.load_blocks(tmp_path)
    assert [[document.name for document in found] for found in (outcome.added, outcome.changed, outcome.same)] == [
        ["c"],
        ["b"],
        ["a"],
    ]
    assert (await one.document("block", "b")).version == 2


async def test_every_file_that_is_no_block_is_named_and_nothing_is_saved(tmp_path: Path) -> None:
    written(
        tmp_path,
        good_dot_md="x",
        open_dot_md="---\nrole: system\n",
        bad_dot_md="{{ open",
        odd_dot_md="---\ncolour: red\n---\nx",
        sub__a_dot_md="a",
        sub__a_dot_txt="b",
    )
    (tmp_path / "latin.md").write_bytes(b"gr\xfc\xdfe")
    (tmp_path / "long.md").write_text("x" * ((1 << 20) + 1))
    one = Collection(MemoryLibrary())
    with pytest.raises(DocumentInvalid) as caught:
        await one.load_blocks(tmp_path)
    assert len(caught.value.faults) == 6
    for name in ("open.md", "bad.md", "odd.md", "a.txt", "latin.md", "long.md"):
        assert any(
            f"{tmp_path / name}" in fault or f"{tmp_path / 'sub' / name}" in fault for fault in caught.value.faults
        )
    assert await one.list() == []


def test_what_is_no_plain_file_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, real__a_dot_md="a")
    os.mkfifo(tmp_path / "real" / "pipe.md")
    (tmp_path / "real" / "folder.md").mkdir()
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert [block.name for block in blocks_in(tmp_path / "real")] == ["a"]


def test_a_folder_is_bounded_and_must_be_one(tmp_path: Path) -> None:
    written(tmp_path, a_dot_md="a", b_dot_md="b")
    assert len(blocks_in(tmp_path, max_files=2)) == 2
    with pytest.raises(DocumentInvalid, match="holds more than 1 text files"):
        blocks_in(tmp_path, max_files=1)
    with pytest.raises(NotADirectoryError, match="is no folder to load blocks from"):
        blocks_in(tmp_path / "a.md")
