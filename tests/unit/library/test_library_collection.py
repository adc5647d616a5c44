"""Blocks, payloads and workflows come back from a library as they were saved, whatever becomes of their names."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from llmorch import Block, CodeMissing, Payload, Workflow, WorkflowInvalid
from llmorch.documents import (
    Document,
    DocumentConflict,
    DocumentInUse,
    DocumentInvalid,
    DocumentNotFound,
    Use,
)
from llmorch.library import Collection
from llmorch.stores.memory_library import MemoryLibrary
from tests.unit.library.library_parts import CODE, DRAFT, VOICE, every_collection, flow

pytestmark = pytest.mark.anyio


def collection() -> Collection:
    return Collection(MemoryLibrary(), code=CODE)


async def test_what_was_saved_comes_back_equal(tmp_path: Path) -> None:
    async with every_collection(tmp_path) as collections:
        for one in collections:
            for thing in (VOICE, DRAFT, flow()):
                await one.save(thing)
            assert await one.block("voice") == VOICE
            assert await one.payload("draft") == DRAFT
            assert (await one.workflow("article-to-post")).to_dict() == flow().to_dict()


async def test_zeros_and_false_are_values_and_not_nothing() -> None:
    one = collection()
    await one.save(DRAFT)
    kept = await one.payload("draft")
    assert (kept.temperature, kept.top_p, kept.seed, kept.cache) == (0, 0, 0, False)
    assert kept.extra == {"logit_bias": {"1": 0}, "flag": False, "none": None}
    unset = await one.save(Payload("draft", "x"))
    assert "temperature" not in unset.body
    zero = await one.save(Payload("draft", "x", temperature=0))
    assert (zero.version, zero.body["temperature"]) == (3, 0)
    assert (await one.payload("draft", version=2)).temperature is None
    await one.save(VOICE)
    assert (await one.block("voice")).default_data == VOICE.default_data
    assert (await one.block("voice")).default_data["off"] is False


async def test_every_version_stays_and_the_same_adds_none() -> None:
    one = collection()
    texts = ["One.", "Two.", "Two.", "One."]
    kept = [await one.save(Block("voice", text, tags=["a"])) for text in texts]
    assert [document.version for document in kept] == [1, 2, 2, 3]
    assert [(await one.block("voice", version=number)).text for number in (1, 2, 3)] == ["One.", "Two.", "One."]
    assert [document.version for document in await one.versions("block", "voice")] == [1, 2, 3]


async def test_a_name_is_added_once_and_saved_as_often_as_one_likes() -> None:
    one = collection()
    await one.add(VOICE)
    await one.add(Block("voice", "Another.", folder="Phase 2"))
    with pytest.raises(DocumentConflict, match="Block 'voice' in folder 'Phase 1/Tone' is there already, at version 1"):
        await one.add(VOICE)
    await one.add(DRAFT)
    with pytest.raises(DocumentConflict, match="Payload 'draft' is there already"):
        await one.add(DRAFT.using(temperature=1))
    second = await one.save(DRAFT.using(temperature=1))
    with pytest.raises(DocumentConflict, match="is at version 2, not 1: read what somebody else put") as caught:
        await one.save(DRAFT.using(temperature=2), expected=1)
    assert caught.value.version == second.version == 2


async def test_a_block_is_found_without_its_folder_where_only_one_has_the_name() -> None:
    one = collection()
    await one.save(VOICE)
    assert await one.block("voice") == VOICE
    await one.save(Block("voice", "Another.", folder="Phase 2"))
    with pytest.raises(DocumentNotFound, match=r"in the folders 'Phase 1/Tone', 'Phase 2'; say which one"):
        await one.block("voice")
    assert (await one.block("voice", folder="Phase 2")).text == "Another."
    await one.delete("block", "voice", folder="Phase 1/Tone")
    assert (await one.block("voice")).text == "Another."
    with pytest.raises(DocumentNotFound, match=r"Block 'voise' is not in the library; did you mean 'voice'\?"):
        await one.block("voise")


async def test_a_payload_remembers_the_versions_of_the_blocks_it_is_made_of() -> None:
    one = collection()
    await one.save(Block("voice", "Old."))
    await one.save(Block("voice", "New."))
    await one.save(Block("rules", "No adverbs.", folder="a"))
    old, new, rules = (await one.block("voice", version=1)), await one.block("voice"), await one.block("rules")
    kept = await one.save(Payload("draft", rules, old, "Write."))
    assert kept.uses == (Use("block", "rules", version=1, folder="a"), Use("block", "voice", version=1))
    again = await one.save(Payload("draft", new, "Write."))
    assert again.uses == (Use("block", "voice", version=2),)
    edited = await one.save(Payload("draft", Block("voice", "Edited here."), "Write."))
    assert edited.uses == ()
    assert (await one.versions("payload", "draft"))[0].uses == kept.uses
    assert [document.name for document in await one.users("block", "voice")] == []


async def test_a_workflow_remembers_payloads_blocks_and_workflows_in_it() -> None:
    one = collection()
    await one.save(VOICE)
    await one.save(DRAFT)
    inner = Workflow.of(Payload("look", "Look at {{ thing }}."), name="inner")
    await one.save(inner)
    outer = flow()
    outer.add(inner, thing="it")
    kept = await one.save(outer, tags=["post"])
    assert kept.uses == (
        Use("payload", "draft", version=1),
        Use("block", "voice", version=1, folder="Phase 1/Tone"),
        Use("workflow", "inner", version=1),
    )
    await one.save(inner, tags=["tagged"])  # its tags are no part of it
    assert (await one.save(outer)).uses[-1] == Use("workflow", "inner", version=2)


async def test_renaming_keeps_versions_users_and_what_they_are_made_of(tmp_path: Path) -> None:
    async with every_collection(tmp_path) as collections:
        for one in collections:
            await one.save(Block("voice", "Old."))
            voice = Block("voice", "New.", tags=["t"])
            await one.save(voice)
            await one.save(Payload("draft", voice, "Write."))
            renamed = await one.rename("block", "voice", to="tone", to_folder="Kept")
            assert (renamed.document.name, renamed.document.folder, renamed.document.version) == ("tone", "Kept", 2)
            assert [document.name for document in renamed.users] == ["draft"]
            assert (await one.block("tone", version=1)).text == "Old."
            draft = await one.payload("draft")
            assert draft == Payload("draft", voice, "Write.")
            assert (await one.document("payload", "draft")).uses == (Use("block", "tone", version=2, folder="Kept"),)
            again = await one.save(draft.using(temperature=0.5))  # it holds the block under its old name
            assert again.uses == (Use("block", "tone", version=2, folder="Kept"),)
            with pytest.raises(DocumentInUse):
                await one.delete("block", "tone")


async def test_a_renamed_payload_names_its_own_blocks_anew_and_its_workflow_goes_on() -> None:
    one = collection()
    payload = Payload("draft", "Write about {{ topic }}.", temperature=0)
    await one.save(payload)
    wf = Workflow.of(payload, name="tea")
    await one.save(wf)
    renamed = await one.rename("payload", "draft", to="essay")
    assert [document.name for document in renamed.users] == ["tea"]
    assert (await one.payload("essay")).blocks[0].name == "essay-1"
    assert (await one.workflow("tea")).to_dict() == wf.to_dict()
    assert (await one.document("workflow", "tea")).uses == (Use("payload", "essay", version=1),)


async def test_a_name_that_is_taken_is_not_given_again() -> None:
    one = collection()
    for name in ("a", "b", "c"):
        await one.save(Block(name, "x"))
    await one.delete("block", "c")
    with pytest.raises(DocumentConflict, match="Block 'b' is there already, or take another name"):
        await one.rename("block", "a", to="b")
    with pytest.raises(DocumentConflict, match="Block 'c' was deleted, and its versions keep the name; purge it"):
        await one.rename("block", "a", to="c")
    assert await one.purge() == 1
    assert (await one.rename("block", "a", to="c")).document.name == "c"


async def test_deleting_what_is_used_names_the_users() -> None:
    one = collection()
    await one.save(VOICE)
    await one.save(DRAFT)
    await one.save(flow())
    with pytest.raises(DocumentInUse, match="is used by payload 'draft', workflow 'article-to-post'") as caught:
        await one.delete("block", "voice")
    assert [document.name for document in caught.value.users] == ["draft", "article-to-post"]
    await one.delete("block", "voice", force=True)
    assert await one.payload("draft") == DRAFT
    with pytest.raises(DocumentNotFound, match="was deleted; its 1 versions can still be read by number"):
        await one.library.get("block", "voice", folder="Phase 1/Tone")
    assert await one.block("voice", version=1) == VOICE
    assert (await one.save(VOICE)).version == 1


async def test_tags_of_a_workflow_are_kept_until_others_are_given() -> None:
    one = collection()
    await one.save(flow(), tags=["post", "weekly"])
    wf = flow()
    wf.add(Payload("extra", "More."))
    assert (await one.save(wf)).tags == ("post", "weekly")
    assert (await one.save(wf, tags=[])).tags == ()
    with pytest.raises(TypeError, match="a Block or Payload has tags of its own"):
        await one.save(VOICE, tags=["x"])


async def test_tags_and_folders_are_compared_as_a_whole() -> None:
    one = collection()
    await one.save(Block("a", "x", tags=["art"], folder="Phase 1"))
    await one.save(Block("b", "x", tags=["party"], folder="Phase 1/Tone"))
    await one.save(Block("c", "x", tags=["Art"], folder="Phase 10"))
    await one.save(Block("d", "find me, LOUD"))
    assert [found.name for found in await one.list(tag="art")] == ["a"]
    assert [found.name for found in await one.list(folder="Phase 1")] == ["a", "b"]
    assert [found.name for found in await one.list(text="me loud")] == ["d"]
    assert await one.folders() == {"": 1, "Phase 1": 1, "Phase 1/Tone": 1, "Phase 10": 1}
    await one.save(Block("e", "x", folder="x/y/z"))
    assert list(await one.folders()) == ["", "Phase 1", "Phase 1/Tone", "Phase 10", "x", "x/y", "x/y/z"]


async def test_a_difference_shows_the_lines_that_changed() -> None:
    one = collection()
    await one.save(Block("voice", "Be brief.\nBe kind.\n", tags=["t"]))
    await one.save(Block("voice", "Be brief.\nBe clear.\n", tags=["t"]))
    shown = await one.diff("block", "voice", old=1)
    assert "--- Block 'voice', version 1\n+++ Block 'voice', version 2\n" in shown
    assert "-  Be kind.\n+  Be clear.\n" in shown
    assert await one.diff("block", "voice", old=2) == ""


async def test_code_is_looked_up_and_never_imported() -> None:
    one = Collection(MemoryLibrary())
    await one.save(DRAFT)
    await one.save(flow())
    with pytest.raises(CodeMissing, match=r"Payload 'draft' names tests\.unit\.library\.library_parts:Facts"):
        await one.payload("draft")
    with pytest.raises(CodeMissing):
        await one.workflow("article-to-post")
    assert await one.payload("draft", code=CODE) == DRAFT


async def test_code_that_nobody_else_finds_is_refused() -> None:
    one = collection()

    class Local(VOICE.__class__):  # type: ignore[misc]  # any class that is no module's
        pass

    with pytest.raises(
        DocumentInvalid, match=r"Payload 'p' cannot be kept.*\n  - its output is a type that is defined"
    ):
        await one.save(Payload("p", "x", output=Local))
    wf = Workflow("w")
    wf.add(lambda: 1, name="one")
    with pytest.raises(DocumentInvalid, match="Workflow 'w' cannot be kept"):
        await one.save(wf)
    with pytest.raises(WorkflowInvalid):
        await one.save(Workflow.of(Payload("a", "x"), Payload("a", "y"), name="twice"))
    with pytest.raises(TypeError, match="a library keeps Block, Payload and Workflow, not int"):
        await one.save(7)  # type: ignore[arg-type]
    assert await one.list() == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block("a\nb", "x"), "control character"),
        (Block(" ", "x"), "a text that is not empty"),
        (Block("a" * 201, "x"), "has 201 characters; 200 is the most"),
        (Block("a", "x", folder="/b"), "The folder '/b' is none"),
        (Block("a", "x", folder="b/../c"), r"The folder 'b/../c' is none"),
        (Block("a", "x", tags=[""]), "A tag is a text that is not empty"),
    ],
)
async def test_names_that_no_library_could_show_are_refused(block: Block, message: str) -> None:
    with pytest.raises(DocumentInvalid, match=message):
        await collection().save(block)


async def test_of_a_document_only_what_it_may_be_is_taken() -> None:
    with pytest.raises(DocumentInvalid, match="not 'recipe'"):
        Document("recipe", "a", {})  # type: ignore[arg-type]
    with pytest.raises(DocumentInvalid, match="only blocks stand in folders"):
        Document("payload", "a", {}, folder="b")
    with pytest.raises(DocumentInvalid, match="give a tuple of texts"):
        Document("block", "a", {}, tags=["b"])  # type: ignore[arg-type]
    one = collection()
    await one.library.put(Document("block", "odd", {"llmorch": 1, "text": "x", "colour": "red"}))
    with pytest.raises(DocumentInvalid, match="Block 'odd': colour: Extra inputs are not permitted"):
        await one.block("odd")
    await one.library.put(Document("payload", "odd", {"llmorch": 2, "blocks": ["x"]}))
    with pytest.raises(DocumentInvalid, match="Payload 'odd': llmorch is 2, and this version reads format 1"):
        await one.payload("odd")


async def test_many_who_save_at_once_all_get_a_version(tmp_path: Path) -> None:
    async with every_collection(tmp_path) as collections:
        for one in collections:
            await one.save(flow(), tags=["kept"])

            async def save(one: Collection, number: int) -> None:
                wf = flow()
                wf.add(Payload(f"extra-{number}", "More."))
                await one.save(wf)

            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(partial(save, one, number))
            versions = await one.versions("workflow", "article-to-post")
            assert [document.version for document in versions] == list(range(1, 10))
            assert {document.tags for document in versions} == {("kept",)}


async def test_tags_that_somebody_gives_meanwhile_are_not_lost() -> None:
    class Meddled(MemoryLibrary):
        is_first = True

        async def put(self, document: Document, **about: Any) -> Document:
            if document.version == 0 and document.tags == ("old",) and self.is_first and document.body["steps"][1:]:
                self.is_first = False
                await MemoryLibrary.put(self, replace(document, tags=("theirs",)))
            return await super().put(document, **about)

    one = Collection(Meddled(), code=CODE)
    await one.save(Workflow.of(Payload("a", "x"), name="w"), tags=["old"])
    kept = await one.save(Workflow.of(Payload("a", "x"), Payload("b", "{{ a }}"), name="w"))
    assert (kept.version, kept.tags) == (2, ("theirs",))


async def test_a_library_is_closed_with_its_collection() -> None:
    closed: list[bool] = []

    class Watched(MemoryLibrary):
        async def aclose(self) -> None:
            closed.append(True)

    async with Collection(Watched()) as one:
        await one.save(VOICE)
    assert closed == [True]


async def test_a_value_read_is_like_any_other(tmp_path: Path) -> None:
    one = collection()
    await one.save(flow())
    wf: Workflow[Any] = await one.workflow("article-to-post")
    wf.save(tmp_path / "wf.yaml")
    assert (await one.save(Workflow.load(tmp_path / "wf.yaml", code=CODE))).version == 1
