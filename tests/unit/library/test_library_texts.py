"""A library as text: it comes back exactly, and what strangers write is bounded, checked and never run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmorch import Block, Payload, Workflow
from llmorch._yaml import loads
from llmorch.documents import Document, DocumentConflict, DocumentInvalid, Use
from llmorch.library import Collection, Imported
from llmorch.stores.memory_library import MemoryLibrary
from llmorch.stores.sqlite.library import SqliteLibrary
from tests.unit.library.library_parts import CODE, DRAFT, VOICE, Dated, flow

pytestmark = pytest.mark.anyio


async def filled() -> Collection:
    """A library with versions, users, a rename, and things that were deleted."""
    one = Collection(Dated(), code=CODE)
    await one.save(Block("voice", "Older.", folder="Phase 1/Tone"))
    await one.save(VOICE)
    await one.save(Block("gone", "Gone.", tags=["old"]))
    await one.save(Payload("short", await one.block("gone"), "x", temperature=0))
    await one.save(DRAFT)
    await one.save(DRAFT.using(temperature=1))
    await one.save(flow(), tags=["post"])
    await one.rename("block", "voice", to="sound")
    await one.save(Block("voice", "A younger one of that name.", folder="Phase 1/Tone"))
    await one.delete("block", "gone", force=True)
    return one


async def everything(one: Collection) -> list[list[Document]]:
    found = await one.list(deleted=None)
    return [list(await one.versions(document.kind, document.name, folder=document.folder)) for document in found]


@pytest.mark.parametrize("format", ["yaml", "json"])
async def test_a_whole_library_comes_back_exactly(tmp_path: Path, format: Any) -> None:
    one = await filled()
    text = await one.export(format=format)
    for library in (MemoryLibrary(), SqliteLibrary(tmp_path / "library.db", durability="process")):
        async with Collection(library, code=CODE) as other:
            outcome = await other.import_(text)
            assert str(outcome) == "6 added, 0 changed, 0 the same"
            assert await everything(other) == await everything(one)
            assert await other.export(format=format) == text
            assert str(await other.import_(text)) == "0 added, 0 changed, 6 the same"
            assert await other.export(format=format) == text


async def test_both_formats_hold_the_same() -> None:
    one = await filled()
    data = json.loads(await one.export(format="json"))
    assert loads(await one.export()) == data
    assert data["llmorch_library"] == 1


async def test_one_document_goes_with_what_it_was_made_of() -> None:
    one = await filled()
    data = json.loads(await one.export("payload", "draft", format="json"))
    assert [(entry["kind"], entry["name"]) for entry in data["documents"]] == [("block", "sound"), ("payload", "draft")]
    assert [len(entry["versions"]) for entry in data["documents"]] == [2, 2]
    other = Collection(MemoryLibrary(), code=CODE)
    await other.import_(json.dumps(data))
    assert await other.payload("draft") == DRAFT.using(temperature=1)
    assert (await other.document("payload", "draft")).uses == (Use("block", "sound", version=2, folder="Phase 1/Tone"),)
    assert "workflow" not in await one.export("block")
    with pytest.raises(TypeError, match="needs the kind as well"):
        await one.export(name="draft")


async def test_what_is_the_same_is_passed_over_and_what_goes_on_is_added() -> None:
    one, other = Collection(Dated()), Collection(Dated())
    await one.save(Block("voice", "1"))
    await one.save(Block("same", "s"))
    await other.import_(await one.export())
    await one.save(Block("voice", "2"))
    await one.save(Block("voice", "3"))
    await one.save(Block("new", "n"))
    outcome = await other.import_(await one.export(), on_difference="refuse")
    assert [[document.name for document in found] for found in (outcome.added, outcome.changed, outcome.same)] == [
        ["new"],
        ["voice"],
        ["same"],
    ]
    assert await everything(other) == await everything(one)


async def test_what_is_different_is_the_next_version_or_refused_as_a_whole() -> None:
    one, other = Collection(Dated()), Collection(Dated())
    for text in ("a", "b"):
        await one.save(Block("voice", text))
    await other.save(Block("voice", "a"))
    await other.save(Block("voice", "c"))
    text = await one.export()
    before = await everything(other)
    with pytest.raises(DocumentConflict, match="The library has something else as Block 'voice'; nothing was put"):
        await other.import_(text, on_difference="refuse")
    assert await everything(other) == before
    outcome = await other.import_(text)
    assert [document.version for document in outcome.changed] == [3]
    assert [document.body["text"] for document in await other.versions("block", "voice")] == ["a", "c", "b"]
    assert str(await other.import_(text)) == "0 added, 0 changed, 1 the same"


async def test_an_older_text_leads_again_and_nothing_is_lost() -> None:
    one = Collection(Dated())
    await one.save(Block("voice", "a"))
    old = await one.export()
    await one.save(Block("voice", "b"))
    assert str(await one.import_(old)) == "0 added, 1 changed, 0 the same"
    assert [document.body["text"] for document in await one.versions("block", "voice")] == ["a", "b", "a"]


async def test_versions_that_got_other_numbers_are_still_what_users_were_made_of() -> None:
    one, other = Collection(Dated()), Collection(Dated())
    await one.save(Block("voice", "a"))
    await one.save(Payload("first", await one.block("voice"), "x"))
    await one.save(Block("voice", "b"))
    await one.save(Payload("second", await one.block("voice"), "x"))
    for text in ("z", "b", "y"):
        await other.save(Block("voice", text))
    await other.import_(await one.export())
    texts = [document.body["text"] for document in await other.versions("block", "voice")]
    assert texts == ["z", "b", "y", "a", "b"]
    assert (await other.document("payload", "first")).uses == (Use("block", "voice", version=4),)
    assert (await other.document("payload", "second")).uses == (Use("block", "voice", version=5),)


async def test_versions_keep_their_order_whatever_they_were_made_of() -> None:
    one, other = Collection(Dated()), Collection(MemoryLibrary())
    await one.save(Block("voice", "a"))
    await one.save(Payload("p", await one.block("voice"), "x"))
    await one.save(Payload("p", "made of nothing"))
    await one.save(Payload("p", await one.block("voice"), "y"))
    await other.import_(await one.export())
    assert await everything(other) == await everything(one)


async def test_deleted_things_stay_deleted_and_bury_nothing_that_lives() -> None:
    one, other = Collection(Dated()), Collection(Dated())
    await one.save(Block("voice", "a"))
    await one.save(Block("voice", "b"))
    await one.delete("block", "voice")
    text = await one.export()
    await other.save(Block("voice", "c"))
    await other.import_(text)
    assert (await other.block("voice")).text == "c"
    assert [document.body["text"] for document in await other.versions("block", "voice")] == ["c", "a", "b", "c"]
    third = Collection(MemoryLibrary())
    assert len((await third.import_(text)).added) == 1
    assert await third.list() == []
    await one.save(Block("voice", "b"))
    await third.import_(await one.export())
    assert (await third.document("block", "voice")).version == 2


async def test_a_text_written_by_hand_needs_little() -> None:
    text = """
llmorch_library: 1
documents:
- {kind: block, name: voice, versions: [{body: {llmorch: 1, text: Be brief.}}]}
- kind: payload
  name: draft
  versions:
  - body:
      llmorch: 1
      blocks: [Write about {{ topic }}.]
      temperature: 0
    uses: [{kind: block, name: voice, version: 1}]
""".replace("[Write about {{ topic }}.]", '["Write about {{ topic }}."]')
    one = Collection(MemoryLibrary())
    assert str(await one.import_(text)) == "2 added, 0 changed, 0 the same"
    assert (await one.payload("draft")).temperature == 0
    assert (await one.document("block", "voice")).updated_at > 1_700_000_000_000_000


def entry(**changes: Any) -> dict[str, Any]:
    return {"kind": "block", "name": "voice", "versions": [{"body": {"llmorch": 1, "text": "x"}}]} | changes


def one_version(**changes: Any) -> dict[str, Any]:
    return entry(versions=[{"body": {"llmorch": 1, "text": "x"}} | changes])


def payload(**body: Any) -> dict[str, Any]:
    return entry(kind="payload", name="p", versions=[{"body": {"llmorch": 1, "blocks": ["x"]} | body}])


FAULTS: list[tuple[Any, str]] = [
    (entry(kind="recipe"), r"documents\[0\].kind: 'recipe' is none; there are block, payload, workflow"),
    (entry(name=7), r"documents\[0\].name: 7 stands where text belongs"),
    (entry(name="a\x00"), r"documents\[0\]: The name 'a\\x00' holds a control character"),
    (entry(folder="../x"), r"documents\[0\]: The folder '../x' is none"),
    (entry(kind="workflow", folder="x"), "only blocks stand in folders"),
    (entry(colour="red"), r"documents\[0\]: unknown key 'colour'"),
    (entry(versions=[]), r"documents\[0\].versions: there is none"),
    (entry(versions={}), r"documents\[0\].versions: \{\} stands where a list belongs"),
    (entry(deleted_at="soon"), r"documents\[0\].deleted_at: 'soon' is no moment"),
    ("voice", r"documents\[0\]: 'voice' stands where a mapping belongs"),
    (one_version(at="2026-01-01T00:00:00"), r"\(block 'voice'\).versions\[0\].at: .*it has no time zone"),
    (one_version(at="1960-01-01T00:00:00Z"), r"versions\[0\].at: .* is before 1970"),
    (one_version(at=5), r"versions\[0\].at: 5 stands where text belongs"),
    (one_version(tags="a"), r"versions\[0\].tags: 'a' stands where a list belongs"),
    (one_version(tags=[""]), r"versions\[0\]: A tag is a text that is not empty"),
    (one_version(uses=[{"kind": "block"}]), r"versions\[0\].uses\[0\]: 'name', 'version' must be given"),
    (one_version(uses=[{"kind": "block", "name": "x", "version": 0}]), r"uses\[0\].version: versions count from 1"),
    (one_version(uses=[{"kind": "block", "name": "x", "version": True}]), r"uses\[0\].version: True stands where"),
    (one_version(description="half \ud83d"), r"versions\[0\]: Block 'voice' holds text with a lone surrogate"),
    (one_version(body={"text": "x"}), r"versions\[0\].body: llmorch is None, and this version reads format 1"),
    (one_version(body={"llmorch": 1}), r"versions\[0\].body: text: Field required"),
    (one_version(body={"llmorch": 1, "text": "{{ open"}), r"versions\[0\].body: Block 'voice': .*"),
    (one_version(body={"llmorch": 1, "text": "x", "name": "y"}), r"body: 'name' stands in the body"),
    (one_version(body={"llmorch": 1, "text": "x", "role": "god"}), r"versions\[0\].body: role: Input should be"),
    (payload(temperature=-1), r"\(payload 'p'\).versions\[0\].body.temperature: Input should be greater"),
    (payload(colour=1), r"versions\[0\].body: unknown key 'colour'"),
    (payload(output={"python": "no:where"}, temperature="hot"), r"versions\[0\].body.temperature: "),
    (payload(tools=[{"python": "no:where"}], blocks=[{"name": "b"}]), r"versions\[0\].body.blocks\[0\]"),
    (
        entry(kind="workflow", versions=[{"body": {"llmorch": 1, "steps": [{}]}}]),
        r"body.steps\[0\]: a step has exactly",
    ),
]


@pytest.mark.parametrize(("bad", "message"), FAULTS)
async def test_a_fault_is_named_with_its_place_and_nothing_is_put(bad: Any, message: str) -> None:
    one = Collection(MemoryLibrary())
    good = entry(name="good")
    text = json.dumps({"llmorch_library": 1, "documents": [bad, good]})
    with pytest.raises(DocumentInvalid, match=message):
        await one.import_(text)
    assert await one.list(deleted=None) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "the text: .* stands where a mapping belongs"),
        ("{}", "the text: 'llmorch_library' must be given"),
        ('{"llmorch_library": 2}', "llmorch_library: is 2, and this version reads format 1"),
        ('{"llmorch_library": true}', "llmorch_library: is True"),
        ('{"llmorch_library": 1, "documents": 7}', "documents: 7 stands where a list belongs"),
        ('{"llmorch_library": 1,\n "documents": [}', r"The text is no JSON: line 2, column 16"),
        ('{"llmorch_library": 1, "llmorch_library": 1}', "the key 'llmorch_library' is there twice"),
        ('{"llmorch_library": NaN}', "NaN is no finite number"),
        ('{"a": ' * 100_000, "nested too deep"),
        ("llmorch_library: 1\ndocuments: &x []\n", "anchors and aliases"),
        ("llmorch_library: 1\ndocuments: !!python/object:os.system []\n", "line 2, column 12: the tag"),
        ("a: " + "[" * 100 + "]" * 100, "nested more than 64 levels deep"),
        ('{"llmorch_library": ' + "1" * 5_000 + "}", "Exceeds the limit"),
    ],
)
async def test_a_text_that_is_no_library_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentInvalid, match=message):
        await Collection(MemoryLibrary()).import_(text)


async def test_a_text_is_bounded() -> None:
    one = Collection(MemoryLibrary())
    text = json.dumps({"llmorch_library": 1, "documents": [entry(name=f"b{n}") for n in range(5)]})
    with pytest.raises(DocumentInvalid, match="longer than 100 bytes; split it, or raise max_bytes="):
        await one.import_(text, max_bytes=100)
    with pytest.raises(DocumentInvalid, match="has 5 versions; at most 4 are read"):
        await one.import_(text, max_versions=4)
    assert len((await one.import_(text, max_bytes=len(text), max_versions=5)).added) == 5


async def test_all_faults_are_told_at_once_up_to_fifty() -> None:
    text = json.dumps({"llmorch_library": 1, "documents": [entry(kind=n) for n in range(60)]})
    with pytest.raises(DocumentInvalid) as caught:
        await Collection(MemoryLibrary()).import_(text)
    assert len(caught.value.faults) == 51
    assert caught.value.faults[-1] == "and 10 more"


async def test_a_name_may_stand_there_once() -> None:
    text = json.dumps({"llmorch_library": 1, "documents": [entry(), entry(folder="a"), entry()]})
    with pytest.raises(DocumentInvalid, match=r"documents\[2\]: Block 'voice' is there twice, the first time as doc"):
        await Collection(MemoryLibrary()).import_(text)


async def test_uses_that_lead_nowhere_or_round_in_a_circle_are_refused() -> None:
    one = Collection(MemoryLibrary())
    lost = payload()
    lost["versions"][0]["uses"] = [{"kind": "block", "name": "voice", "version": 1}]
    text = json.dumps({"llmorch_library": 1, "documents": [lost]})
    with pytest.raises(DocumentInvalid, match="made of version 1 of Block 'voice', which is neither in the text nor"):
        await one.import_(text)
    await one.save(Block("voice", "x"))
    assert len((await one.import_(text)).added) == 1
    pair = [one_version(uses=[{"kind": "block", "name": other, "version": 1}]) for other in ("b", "a")]
    ring = [pair[0] | {"name": "a"}, pair[1] | {"name": "b"}]
    with pytest.raises(DocumentInvalid, match="version 1, was made of itself"):
        await one.import_(json.dumps({"llmorch_library": 1, "documents": ring}))
    assert len(await one.list()) == 2


async def test_reading_a_text_imports_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library_trap.py").write_text(
        f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Out: ...\ndef f(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    steps = [{"name": "f", "function": {"python": "library_trap:f"}}]
    body = {"output": {"python": "library_trap:Out"}, "tools": [{"python": "library_trap:f"}]}
    wf = entry(kind="workflow", name="w", versions=[{"body": {"llmorch": 1, "steps": steps}}])
    trick = one_version(
        body={"llmorch": 1, "text": "{{ ''.__class__.__mro__ }}{% for x in range(10**9) %}{% endfor %}"}
    )
    one = Collection(MemoryLibrary())
    await one.import_(json.dumps({"llmorch_library": 1, "documents": [payload(**body), wf]}))
    with pytest.raises(DocumentInvalid):
        await one.import_(json.dumps({"llmorch_library": 1, "documents": [trick]}))
    assert "library_trap" not in sys.modules
    assert not (tmp_path / "sprung").exists()
    assert len(await one.list()) == 2


async def test_an_import_that_broke_off_is_repeated() -> None:
    class Breaks(MemoryLibrary):
        left = 3

        async def put(self, document: Document, **about: Any) -> Document:
            self.left -= 1
            if self.left < 0:
                raise OSError("the cable")
            return await super().put(document, **about)

    one, library = await filled(), Breaks()
    other = Collection(library, code=CODE)
    text = await one.export()
    with pytest.raises(OSError, match="the cable"):
        await other.import_(text)
    library.left = 100
    await other.import_(text, on_difference="refuse")
    assert await everything(other) == await everything(one)


async def test_somebody_who_saves_meanwhile_is_not_overwritten() -> None:
    class Meddled(Dated):
        async def put(self, document: Document, **about: Any) -> Document:
            if document.body["text"] == "b":
                await MemoryLibrary.put(self, replace(document, body={"llmorch": 1, "text": "theirs"}))
            return await super().put(document, **about)

    one, other = Collection(Dated()), Collection(Meddled())
    for text in ("a", "b"):
        await one.save(Block("voice", text))
    with pytest.raises(DocumentConflict, match="is at version 2, not 1"):
        await other.import_(await one.export())
    assert (await other.block("voice")).text == "theirs"


async def test_what_was_imported_is_counted_for_people() -> None:
    assert str(Imported()) == "0 added, 0 changed, 0 the same"
    wf = Workflow.of(Payload("a", "x"), name="w")
    one = Collection(MemoryLibrary())
    await one.save(wf)
    with pytest.raises(ValueError, match="on_difference must be 'version' or 'refuse', not 'ask'"):
        await one.import_(await one.export(), on_difference="ask")  # type: ignore[arg-type]
