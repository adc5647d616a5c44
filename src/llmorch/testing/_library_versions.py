"""Rules about what is put: it is there, whole and unchanged, and every version of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from .._clock import now_us
from ..documents import Document, DocumentConflict
from ..errors import LLMOrchError
from ._library_rule import LibraryCase, Rule, block, fault_in, fault_in_list, payload, workflow
from ._store_rule import at_once, one_winner, refused
from ._store_samples import DATA, TEXT
from ._suite import Broken, broken, name_of

__all__ = ["RULES", "RULES_BEFORE"]

_METHODS = ("put", "get", "list", "versions", "users", "rename", "delete", "purge", "aclose")
_CONTENDERS = 8
_DELAYS_S = (0.0, 0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03)
_ALIKE: tuple[Any, ...] = (0, 0.0, -0.0, False, None, "", "0", [], {}, 1, 1.0, True, 10**40, float(10**40))
_CHANGES: tuple[dict[str, Any], ...] = (  # Any: fields of a document
    {"tags": ("b", "a")},
    {"tags": ()},
    {"description": "D"},
    {"body": {}},
    {"body": {"blocks": ["Write."], "temperature": 0}},
)
_NAMES = ("Grüße 東京 😀", 'it\'s "quoted"', "100%", "100_", "a/b", "A", "a", " a", "'; --", "<script>", "{{ name }}")


async def _made(case: LibraryCase) -> None:
    missing = [name for name in _METHODS if not callable(getattr(case.raw, name, None))]
    if missing:
        broken(f"the factory gave {type(case.raw).__name__}, which has no {', '.join(missing)}")


async def _created(case: LibraryCase) -> None:
    start = now_us()
    for document in (block(folder="Phase 1/Tone", tags=("one", "Zwei"), description="How."), payload(), workflow()):
        given = await case.library.put(document)
        if not start <= given.created_at == given.updated_at <= now_us():
            broken(f"put() gave created_at={given.created_at}, updated_at={given.updated_at}; it is {now_us()} now")
        wanted = replace(document, version=1, created_at=given.created_at, updated_at=given.updated_at)
        found = await case.library.get(document.kind, document.name, folder=document.folder)
        for what, one in (("put() gave", given), ("get() gave", found)):
            fault = fault_in(one, wanted)
            if fault:
                broken(f"{what} a document that is not the one put: {fault}")


async def _versions(case: LibraryCase) -> None:
    wanted = [await case.library.put(block(text=f"Text {number}."), at=10 * number) for number in range(1, 13)]
    for number, one in enumerate(wanted, 1):
        if (one.version, one.created_at, one.updated_at) != (number, 10, 10 * number):
            broken(
                f"the put number {number} with at={10 * number} gave version {one.version}, "
                f"created_at={one.created_at} and updated_at={one.updated_at}"
            )
        fault = fault_in(await case.library.get("block", "voice", version=number), one)
        if fault:
            broken(f"of version {number}, {fault}")
    fault = fault_in_list(await case.history(wanted[0]), wanted)
    fault = fault or fault_in(await case.library.get("block", "voice"), wanted[-1])
    fault = fault or fault_in_list(await case.library.list(), wanted[-1:])
    if fault:
        broken(fault)


async def _same(case: LibraryCase) -> None:
    first = await case.library.put(payload(tags=("a", "b")))
    for expected in (None, 1, 7):
        again = await case.library.put(payload(tags=("a", "b")), expected=expected)
        fault = fault_in(again, first)
        if fault:
            broken(f"what equals the present version was put again with expected={expected}, and {fault}")
    await case.unchanged([first], "the same was put again")
    wanted = [first]
    for change in _CHANGES:
        wanted.append(await case.library.put(replace(wanted[-1], **change)))
        await case.unchanged(wanted, f"a put with {change}")
    if [one.version for one in wanted] != [1, 2, 3, 4, 5, 6]:
        broken(f"six different contents got the versions {[one.version for one in wanted]}")


async def _alike(case: LibraryCase) -> None:
    bodies: list[dict[str, Any]] = [{"temperature": value} for value in _ALIKE]  # Any: data
    bodies += [{}, {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    wanted = [await case.library.put(Document("payload", "draft", body)) for body in bodies]
    for number, (one, body) in enumerate(zip(wanted, bodies, strict=True), 1):
        if one.version != number:
            broken(f"{body!r} after {bodies[number - 2]!r} was taken for the same: it got version {one.version}")
    put = [replace(one, body=body) for one, body in zip(wanted, bodies, strict=True)]
    fault = fault_in_list(await case.history(wanted[0]), put)
    if fault:
        broken(fault)


async def _equal(case: LibraryCase) -> None:
    document = block(tags=("x y", "Ä", "a,b", "[]"), description=TEXT)
    document = replace(document, body={"text": TEXT, "defaults": DATA, TEXT: TEXT, "long": "é😀\n" * 50_000})
    given = await case.library.put(document)
    wanted = replace(document, version=1, created_at=given.created_at, updated_at=given.updated_at)
    fault = fault_in(given, wanted) or fault_in(await case.library.get("block", "voice"), wanted)
    if fault:
        broken(fault[:400])


async def _keys(case: LibraryCase) -> None:
    for name in _NAMES:
        for folder in ("", "a", "A", "a/b", "a_b", "ä"):
            await case.library.put(block(name, f"{folder}: {name}", folder=folder), expected=0)
        await case.library.put(payload(name, f"payload {name}"), expected=0)
        await case.library.put(workflow(name), expected=0)
    for name in _NAMES:
        for folder in ("", "a", "A", "a/b", "a_b", "ä"):
            found = await case.library.get("block", name, folder=folder)
            if (found.name, found.folder, found.body) != (name, folder, {"text": f"{folder}: {name}"}):
                broken(f"get() of block {name!r} in folder {folder!r} gave {found}")
        if (await case.library.get("payload", name)).body["blocks"] != [f"payload {name}"]:
            broken(f"get() of payload {name!r} gave another")


async def _copies(case: LibraryCase) -> None:
    body: dict[str, Any] = {"text": "Be brief.", "defaults": {"list": [1]}}  # Any: data
    await case.library.put(Document("block", "voice", body))
    body["defaults"]["list"].append(2)
    found = await case.library.get("block", "voice")
    found.body["defaults"]["list"].append(3)
    for listed in (await case.library.list(), await case.history(found)):
        if isinstance(listed, list):
            listed.clear()
    kept = await case.history(found)
    if len(kept) != 1 or kept[0].body["defaults"]["list"] != [1]:
        broken(f"what the caller changed in the data it gave and got is kept: {kept}")


async def _expected(case: LibraryCase) -> None:
    await refused(
        case.library.put(block(), expected=1), "put(expected=1) of what is not there", kinds=(DocumentConflict,)
    )
    wanted = [await case.library.put(block(), expected=0)]
    wanted.append(await case.library.put(block(text="Two."), expected=1))
    for expected, document in ((0, block(text="X")), (0, block(text="Two.")), (1, block(text="X")), (3, block())):
        what = f"put(expected={expected}) at version 2"
        error = await refused(case.library.put(document, expected=expected), what, kinds=(DocumentConflict,))
        if not isinstance(error, DocumentConflict) or error.version != 2 or "voice" not in str(error):
            broken(f"{what} raised {name_of(error)}; .version must be 2, and the text name the document")
        await case.unchanged(wanted, what)


async def _one_wins(case: LibraryCase) -> None:
    for expected in (0, 1, 2):
        asked = [block(text=f"{expected}: {place}") for place in range(_CONTENDERS)]
        ends = await at_once([partial(case.library.put, one, expected=expected) for one in asked])
        won = one_winner(ends, f"writers that expect version {expected}", loses=DocumentConflict)
        found = await case.library.get("block", "voice")
        if (found.version, found.body) != (expected + 1, asked[won].body):
            broken(f"put({asked[won].body}) won over version {expected}, but version {found.version} is {found.body}")


async def _all_land(case: LibraryCase) -> None:
    asked = [block(text=f"Text {place}.") for place in range(_CONTENDERS)]
    ends = await at_once([partial(case.library.put, one) for one in asked])
    lost = next((end for end in ends if isinstance(end, Exception)), None)
    if lost is not None:
        broken(f"of {_CONTENDERS} writers that expect nothing, one met {name_of(lost)}")
    kept = await case.history(asked[0])
    texts = sorted(str(one.body["text"]) for one in kept)
    if [one.version for one in kept] != list(range(1, _CONTENDERS + 1)) or texts != [f"Text {n}." for n in range(8)]:
        broken(f"{_CONTENDERS} different texts put at once became {[(one.version, one.body) for one in kept]}")


async def _bad_data(case: LibraryCase) -> None:
    wanted = await case.put(block())
    for value in (float("nan"), float("inf"), b"bytes", object(), "half \ud83d of a pair"):
        bad = Document("block", "voice", {"text": value})
        await refused(case.library.put(bad), f"put() of {value!r}", kinds=(LLMOrchError, ValueError))
        await case.unchanged(wanted, f"put() of {value!r} was refused")


async def _cancelled(case: LibraryCase) -> None:
    wanted: Sequence[Document] = await case.put(block(text="é" * 100_000))
    for number, delay_s in enumerate(_DELAYS_S):
        document = block(text=f"{number} " + "é" * 100_000)
        what = f"a put cancelled after {delay_s * 1000:g} ms"
        with anyio.move_on_after(delay_s):
            try:
                await case.raw.put(document)
            except Broken:
                raise
            except Exception as error:  # it ends with the cancellation and nothing else
                broken(f"{what} ended with {name_of(error)}")
        kept = await case.history(document)
        if len(kept) > len(wanted):
            fault = fault_in(replace(kept[-1], created_at=0, updated_at=0), replace(document, version=len(wanted) + 1))
            if fault:
                broken(f"after {what}, {fault[:200]}")
            wanted = [*wanted, kept[-1]]
        fault = fault_in_list(kept, wanted)
        if fault:
            broken(f"after {what}, {fault[:200]}")
        wanted = [*wanted, await case.library.put(block(text=f"after {number}"))]
        await case.unchanged(wanted, f"{what} and one more put")


RULES_BEFORE = (
    Rule(
        "made",
        "The factory makes a library with every method of Library.",
        "See llmorch.documents.Library; all of its methods are async.",
        _made,
        after=(),
    ),
    Rule(
        "created",
        "A document that was put is there with every field, version 1 and its times.",
        "Keep kind, folder, name, body, tags and description; the times are microseconds UTC.",
        _created,
        after=("made",),
    ),
)

RULES = (
    Rule(
        "versions",
        "Every put of something else is the next version, and every version can be read as it was put.",
        "Add a row for each version; take updated_at from at= where it is given, created_at from version 1.",
        _versions,
    ),
    Rule(
        "same",
        "What equals the present version is given back and adds nothing; other tags or another description are others.",
        "Compare llmorch.documents.encode(document) and the uses with those of the present version.",
        _same,
    ),
    Rule(
        "alike",
        "0, 0.0, false, null and what is not there are different, and so is another order of keys.",
        "Keep and compare the line of encode(); no `or` on values, no comparison of Python values.",
        _alike,
    ),
    Rule(
        "equal",
        "Data come back as they were put: text of any kind, ints of any size, keys in their order.",
        "Keep the line of encode() as text or bytes; no JSON column that sorts keys or cuts numbers.",
        _equal,
    ),
    Rule(
        "keys",
        "A block is known by name and folder, letter by letter; payloads and workflows of that name are others.",
        "Make (kind, folder, name) unique under a collation that compares code points.",
        _keys,
    ),
    Rule(
        "copies",
        "What the caller gave or got is the caller's to change.",
        "Copy what you keep and what you give.",
        _copies,
    ),
    Rule(
        "expected",
        "A put that expects another version than the present one raises DocumentConflict and changes nothing.",
        "Look at the present version inside the transaction; 0 means that there is none.",
        _expected,
    ),
    Rule(
        "one-wins",
        "Of writers that expect the same version at once, exactly one wins and the others raise DocumentConflict.",
        "Take the lock before you look (BEGIN IMMEDIATE, FOR UPDATE), or let a unique index decide.",
        _one_wins,
    ),
    Rule(
        "all-land",
        "Of writers that expect nothing, every one adds a version, without a gap.",
        "Count the version inside the transaction that adds it.",
        _all_land,
    ),
    Rule(
        "bad-data",
        "What is no JSON data is refused, and nothing is written.",
        "Call encode(document) before anything is written.",
        _bad_data,
    ),
    Rule(
        "cancelled",
        "A cancelled put is there whole or not at all, which is settled when it ends, and the library stays usable.",
        "Shield the commit and wait for it, or roll back on the way out.",
        _cancelled,
        cancels=True,
    ),
)
