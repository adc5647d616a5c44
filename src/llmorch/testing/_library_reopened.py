"""Rules about libraries that last: what is there when the same data are opened again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..documents import DocumentConflict, DocumentNotFound, Use
from ._library_rule import LibraryCase, Rule, block, fault_in_list, names, payload, workflow
from ._store_rule import at_once, one_winner, refused
from ._store_samples import DATA, TEXT
from ._suite import broken, skipped

__all__ = ["RULES"]


async def _closing(case: LibraryCase) -> None:
    await case.put(block())
    for _ in range(2):
        await case.library.aclose()


async def _survives(case: LibraryCase) -> None:
    if case.again is None:
        skipped("no reopen= was given")
    document = replace(block(folder="Tone", tags=("ü",), description=TEXT), body={"text": TEXT, "defaults": DATA})
    await case.put(document, replace(document, body={"text": ""}), block("gone"), block("purged"))
    await case.put(payload(uses=(Use("block", "voice", version=1, folder="Tone"),)), workflow())
    await case.library.rename("workflow", "tea", to="coffee")
    await case.library.delete("block", "purged")
    await case.library.purge()
    await case.library.delete("block", "gone")
    kept = await case.library.list(deleted=None)
    history = await case.history(document)
    await case.library.aclose()
    again = await case.opened()
    fault = fault_in_list(await again.list(deleted=None), kept)
    fault = fault or fault_in_list(await again.versions("block", "voice", folder="Tone"), history)
    if fault:
        broken(f"opened again, {fault[:400]}")
    await refused(again.versions("block", "purged"), "versions() of what was purged", kinds=(DocumentNotFound,))
    if (await again.put(document)).version != 3:
        broken("opened again, the next version is not 3")


async def _two_handles(case: LibraryCase) -> None:
    if case.again is None:
        skipped("no reopen= was given")
    one, two = case.library, await case.opened()
    for number in range(1, 4):
        await (one if number % 2 else two).put(block(text=f"{number}"), expected=number - 1)
        found = await (two if number % 2 else one).get("block", "voice")
        if found.version != number:
            broken(f"a handle sees version {found.version} after the other one put version {number}")
    await two.rename("block", "voice", to="tone")
    await refused(one.get("block", "voice"), "get() of what the other handle renamed", kinds=(DocumentNotFound,))
    handles = [one, two] * 4
    asked = [partial(handle.put, block("tone", f"writer {place}"), expected=3) for place, handle in enumerate(handles)]
    one_winner(await at_once(asked), "writers over two handles that expect version 3", loses=DocumentConflict)
    if len(await one.versions("block", "tone")) != 4 or names(await two.list()) != ["block tone"]:
        broken("after writers over two handles, one version was won, and the library holds something else")


RULES = (
    Rule(
        "closing",
        "aclose() may come twice.",
        "Forget what was closed.",
        _closing,
    ),
    Rule(
        "survives",
        "Everything is there when the same data are opened again.",
        "Commit before a method returns; keep nothing in memory that cannot be read again.",
        _survives,
    ),
    Rule(
        "two-handles",
        "Two handles on the same data see each other's versions, and exactly one of their writers wins.",
        "Decide in the data (transaction, lock, unique index), not in the memory of one handle.",
        _two_handles,
    ),
)
