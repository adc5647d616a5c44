"""Rules about finding documents: lists, folders, tags and the search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ..documents import DocumentNotFound
from ._library_rule import LibraryCase, Rule, block, names, payload, workflow
from ._store_rule import refused
from ._suite import broken, name_of

__all__ = ["RULES"]


async def _listed(case: LibraryCase) -> None:
    await case.put(workflow("a"), payload("b"), payload("a"), payload("B"), payload("ä"))
    await case.put(block("z"), block("a", folder="b"), block("b", folder="a"), block("a", folder="a"), block("a"))
    await case.put(block("a", "Another.", folder="a/c"), block("a", "Second.", folder="a"))
    blocks = ["block a", "block z", "block a/a", "block a/b", "block a/c/a", "block b/a"]
    payloads = ["payload B", "payload a", "payload b", "payload ä"]
    asked: dict[str, tuple[dict[str, Any], Sequence[str]]] = {  # Any: keywords of list()
        "list()": ({}, [*blocks, *payloads, "workflow a"]),
        "list('block')": ({"kind": "block"}, blocks),
        "list('payload')": ({"kind": "payload"}, payloads),
        "list(name='a')": (
            {"name": "a"},
            ["block a", "block a/a", "block a/c/a", "block b/a", "payload a", "workflow a"],
        ),
        "list('workflow', name='b')": ({"kind": "workflow", "name": "b"}, []),
        "list(deleted=True)": ({"deleted": True}, []),
    }
    await _compare(case, asked)


async def _folders(case: LibraryCase) -> None:
    folders = ("", "Phase 1", "Phase 1/Tone", "Phase 1/Tone/Old", "Phase 10", "Phase_1", "phase 1", "Phase 1 b", "%")
    await case.put(*[block(folder=folder) for folder in folders], payload(), workflow())
    asked: dict[str, tuple[dict[str, Any], Sequence[str]]] = {  # Any: keywords of list()
        "list(folder='Phase 1')": (
            {"folder": "Phase 1"},
            ["block Phase 1/voice", "block Phase 1/Tone/voice", "block Phase 1/Tone/Old/voice"],
        ),
        "list(folder='Phase 1/Tone')": (
            {"folder": "Phase 1/Tone"},
            ["block Phase 1/Tone/voice", "block Phase 1/Tone/Old/voice"],
        ),
        "list(folder='Phase')": ({"folder": "Phase"}, []),
        "list(folder='Phase_1')": ({"folder": "Phase_1"}, ["block Phase_1/voice"]),
        "list(folder='%')": ({"folder": "%"}, ["block %/voice"]),
    }
    await _compare(case, asked)
    count = len(await case.library.list(folder=""))
    if count != len(folders):
        broken(f"list(folder='') gave {count} documents, not the {len(folders)} blocks")


async def _tags(case: LibraryCase) -> None:
    await case.put(block("one", tags=("art", "a_t")), block("two", tags=("party", "Art")), block("three", tags=("a%",)))
    await case.put(payload(tags=('["art"]', "two words")), workflow(tags=("ä", "art")))
    asked: dict[str, tuple[dict[str, Any], Sequence[str]]] = {  # Any: keywords of list()
        "list(tag='art')": ({"tag": "art"}, ["block one", "workflow tea"]),
        "list(tag='Art')": ({"tag": "Art"}, ["block two"]),
        "list(tag='ar')": ({"tag": "ar"}, []),
        "list(tag='a_t')": ({"tag": "a_t"}, ["block one"]),
        "list(tag='a%')": ({"tag": "a%"}, ["block three"]),
        "list(tag='two')": ({"tag": "two"}, []),
        "list(tag='two words')": ({"tag": "two words"}, ["payload draft"]),
        "list(tag='')": ({"tag": ""}, []),
        "list('workflow', tag='art')": ({"kind": "workflow", "tag": "art"}, ["workflow tea"]),
    }
    await _compare(case, asked)


async def _search(case: LibraryCase) -> None:
    await case.put(block("greeting", "Say HELLO to {{ who }}.\nBe kind.", tags=("Straße",)))
    await case.put(block("plain", "Nothing.", description="A greeting for Östen."), payload("hello", "text"))
    await case.put(workflow(), block("old", "hello"), block("old", "bye"))
    asked: dict[str, tuple[dict[str, Any], Sequence[str]]] = {  # Any: keywords of list()
        "list(text='hello')": ({"text": "hello"}, ["block greeting", "payload hello"]),
        "list(text='GREETING')": ({"text": "GREETING"}, ["block greeting", "block plain"]),
        "list(text='kind say')": ({"text": " kind  say "}, ["block greeting"]),
        "list(text='strasse')": ({"text": "strasse"}, ["block greeting"]),
        "list(text='öst')": ({"text": "o\u0308st"}, ["block plain"]),
        "list(text='draft')": ({"text": "draft"}, ["workflow tea"]),
        "list(text='temperature')": ({"text": "temperature"}, []),
        "list(text='hel%lo')": ({"text": "h%o"}, []),
        "list(text='greeting nowhere')": ({"text": "greeting nowhere"}, []),
        "list('payload', text='hello')": ({"kind": "payload", "text": "hello"}, ["payload hello"]),
    }
    await _compare(case, asked)


async def _compare(case: LibraryCase, asked: dict[str, tuple[dict[str, Any], Sequence[str]]]) -> None:
    for what, (filters, wanted) in asked.items():
        found = names(await case.library.list(**filters))
        if found != list(wanted):
            broken(f"{what} gave {found}, not {list(wanted)}")


async def _not_found(case: LibraryCase) -> None:
    await case.put(block(folder="Tone"), block("other"), payload())
    library, lost = case.library, (DocumentNotFound,)
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "get() of a block in another folder": partial(library.get, "block", "voice"),
        "get() of a payload that is a block": partial(library.get, "payload", "other"),
        "get(version=2) of a block with one": partial(library.get, "block", "other", version=2),
        "get(version=0)": partial(library.get, "block", "other", version=0),
        "get(version=-1)": partial(library.get, "block", "other", version=-1),
        "versions() of nothing": partial(library.versions, "workflow", "tea"),
        "users() of nothing": partial(library.users, "block", "nonesuch"),
        "rename() of nothing": partial(library.rename, "block", "nonesuch", to="other-name"),
        "delete() of nothing": partial(library.delete, "payload", "nonesuch"),
        "delete() with force of nothing": partial(library.delete, "payload", "nonesuch", force=True),
    }
    for what, asked in asks.items():
        error = await refused(asked(), what, kinds=lost)
        if not any(f"'{name}'" in str(error) for name in ("voice", "other", "tea", "nonesuch")):
            broken(f"{what} raised {name_of(error)}; the text must name the document")


RULES = (
    Rule(
        "listed",
        "list() gives present versions by kind (block, payload, workflow), then folder, then name, as filters say.",
        "ORDER BY the place of the kind, folder, name; by code points.",
        _listed,
    ),
    Rule(
        "folders",
        "A folder holds its blocks and those of the folders inside it, not those of folders with a like name.",
        "See llmorch.documents.in_folder; no LIKE without escapes.",
        _folders,
    ),
    Rule(
        "tags",
        "A tag fits as a whole, letter by letter.",
        "Compare with each tag; no substring, no LIKE.",
        _tags,
    ),
    Rule(
        "search",
        "A search finds every word in name, tags, description or texts of the present version, in any letter case.",
        "See llmorch.documents.is_match; keys are no text, and % is a letter.",
        _search,
    ),
    Rule(
        "not-found",
        "Whatever is asked of a document or version that is not there raises DocumentNotFound and names it.",
        "Look for the row first; see llmorch.stores.library_rules.",
        _not_found,
    ),
)
