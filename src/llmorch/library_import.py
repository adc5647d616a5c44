"""Taking documents with their versions out of a library, and bringing them into one that may have some already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from .documents import Document, DocumentConflict, DocumentInvalid, DocumentNotFound, Library, Use, in_order, label
from .library_origins import is_same
from .library_text import History

__all__ = ["Imported", "OnDifference", "bring", "gathered"]

OnDifference = Literal["version", "refuse"]
_Key = tuple[str, str, str]
_Node = tuple[_Key, int]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of documents that were brought into a library; `print` counts them.

    Attributes:
        added: Those that were not there; their present versions.
        changed: Those that have new versions now; their present versions.
        same: Those that the library had already.

    Example:
        >>> print(Imported(added=(Document("block", "voice", {"text": "Be brief."}),)))
        1 added, 0 changed, 0 the same
    """

    added: tuple[Document, ...] = ()
    changed: tuple[Document, ...] = ()
    same: tuple[Document, ...] = ()

    def __str__(self) -> str:
        return f"{len(self.added)} added, {len(self.changed)} changed, {len(self.same)} the same"


async def gathered(library: Library, documents: Sequence[Document]) -> list[Sequence[Document]]:
    """Every version of these documents and of all they were made of, in order."""
    found: dict[_Key, Sequence[Document]] = {}
    todo: list[Document | Use] = [*reversed(documents)]  # users first: what they use was there before them
    for one in todo:  # grows as it goes
        key = (one.kind, one.folder, one.name)
        if key not in found:
            found[key] = history = await library.versions(one.kind, one.name, folder=one.folder)
            todo.extend(use for version in history for use in version.uses)
    return [found[one.kind, one.folder, one.name] for one in in_order(history[-1] for history in found.values())]


@dataclass(slots=True)
class _Arrival:
    """A document of the text, and where its versions go.

    Attributes:
        wanted: Its versions as they stand in the text.
        there: Its versions in the library before anything was put, oldest first.
        to_put: Numbers, in the text, of the versions that are put, in order.
        numbers: Number in the text -> number in the library.
        present: Number of the library's present version; 0 for none.
    """

    wanted: History
    there: Sequence[Document]
    to_put: list[int] = field(default_factory=list[int])
    numbers: dict[int, int] = field(default_factory=dict[int, int])
    present: int = 0

    @property
    def last(self) -> Document:
        """The present version of the text."""
        return self.wanted[-1]

    @property
    def key(self) -> _Key:
        """How the text and the library know it."""
        return self.last.kind, self.last.folder, self.last.name

    @property
    def is_live(self) -> bool:
        """Whether the library had it, and not as a deleted one."""
        return bool(self.there) and self.there[-1].deleted_at is None

    @property
    def goes_on(self) -> bool:
        """Whether the text has everything the library has, and perhaps goes on from there."""
        pairs = zip(self.wanted, self.there, strict=False)
        return len(self.wanted) >= len(self.there) and all(is_same(one, other) for one, other in pairs)

    @property
    def is_different(self) -> bool:
        """Whether both went on from somewhere, each in its own way."""
        return self.is_live and not self.goes_on and not is_same(self.last, self.there[-1])

    def settle(self) -> None:
        """Decide which versions are put, and under which numbers the others stand."""
        self.present = len(self.there) if self.is_live else 0
        goes_on = self.goes_on
        for one in self.wanted:
            if goes_on:
                known = one.version if one.version <= len(self.there) else 0
            else:
                known = next((kept.version for kept in reversed(self.there) if is_same(kept, one)), 0)
            leads = one is self.last and one.deleted_at is None
            is_present = known == self.present and not self.to_put
            if known == 0 or (leads and not is_present):
                self.to_put.append(one.version)
            else:
                self.numbers[one.version] = known


async def bring(library: Library, histories: Sequence[History], *, on_difference: OnDifference) -> Imported:
    """Put what the library does not have, each version after those it was made of.

    What is refused is refused before anything is put. A document of the library that went on in its own way gets the
    versions of the text it does not have, the last one as its present version.

    Raises:
        DocumentConflict: Documents are different and `on_difference` is "refuse", or somebody else put one meanwhile;
            what was put until then stays, and bringing the same again goes on from there.
        DocumentInvalid: A document was made of what is neither in the text nor in the library.
    """
    arrivals = {arrival.key: arrival for arrival in [_Arrival(one, await _there(library, one)) for one in histories]}
    different = [arrival for arrival in arrivals.values() if arrival.is_different]
    if different and on_difference == "refuse":
        names = ", ".join(label(one.last.kind, one.last.name, folder=one.last.folder) for one in different)
        raise DocumentConflict(
            f"The library has something else as {names}; nothing was put. Rename one of them, or bring it as the next "
            "version with on_difference='version'"
        )
    await _check_uses(library, arrivals)
    for arrival in arrivals.values():
        arrival.settle()
    for key, number in _ordered(arrivals):
        await _put(library, arrivals, arrivals[key].wanted[number - 1])
    return await _outcome(library, arrivals)


async def _there(library: Library, history: History) -> Sequence[Document]:
    last = history[-1]
    try:
        return await library.versions(last.kind, last.name, folder=last.folder)
    except DocumentNotFound:
        return []


async def _check_uses(library: Library, arrivals: dict[_Key, _Arrival]) -> None:
    faults: list[str] = []
    for arrival in arrivals.values():
        for one in arrival.wanted:
            for use in one.uses:
                if not await _is_there(library, arrivals, use):
                    what = f"{label(one.kind, one.name, folder=one.folder)}, version {one.version}"
                    used = f"version {use.version} of {label(use.kind, use.name, folder=use.folder)}"
                    faults.append(
                        f"{what}: it was made of {used}, which is neither in the text nor in the library; export it "
                        "with it, or leave it out of uses"
                    )
    if faults:
        raise DocumentInvalid(faults=faults)


async def _is_there(library: Library, arrivals: dict[_Key, _Arrival], use: Use) -> bool:
    arrival = arrivals.get((use.kind, use.folder, use.name))
    if arrival is not None:
        return use.version <= len(arrival.wanted)
    try:
        await library.get(use.kind, use.name, folder=use.folder, version=use.version)
    except DocumentNotFound:
        return False
    return True


def _ordered(arrivals: dict[_Key, _Arrival]) -> list[_Node]:
    """Versions to put, each after the one before it and those it was made of."""
    sorter: TopologicalSorter[_Node] = TopologicalSorter()
    for key, arrival in arrivals.items():
        for before, number in zip([0, *arrival.to_put], arrival.to_put, strict=False):
            uses = [((use.kind, use.folder, use.name), use.version) for use in arrival.wanted[number - 1].uses]
            needed = [(other, at) for other, at in uses if other in arrivals and at in arrivals[other].to_put]
            sorter.add((key, number), *needed, *([(key, before)] if before else []))
    try:
        return list(sorter.static_order())
    except CycleError as error:
        (kind, folder, name), number = error.args[1][0]
        raise DocumentInvalid(f"{label(kind, name, folder=folder)}, version {number}, was made of itself") from error


async def _put(library: Library, arrivals: dict[_Key, _Arrival], document: Document) -> None:
    arrival = arrivals[document.kind, document.folder, document.name]
    uses: list[Use] = []
    for use in document.uses:
        other = arrivals.get((use.kind, use.folder, use.name))
        uses.append(use if other is None else replace(use, version=other.numbers[use.version]))
    wanted = replace(document, uses=tuple(uses))
    put = await library.put(wanted, expected=arrival.present, at=document.updated_at or None)
    arrival.numbers[document.version] = arrival.present = put.version
    if document.deleted_at is None:
        return
    if not arrival.is_live:  # at once, so that an import that breaks off leaves nothing that was deleted
        await library.delete(put.kind, put.name, folder=put.folder, force=True, at=document.deleted_at)
        arrival.present = 0
    elif document.version == arrival.to_put[-1]:  # what is deleted in the text does not lead here
        await library.put(arrival.there[-1], expected=arrival.present)


async def _outcome(library: Library, arrivals: dict[_Key, _Arrival]) -> Imported:
    added: list[Document] = []
    changed: list[Document] = []
    same: list[Document] = []
    for arrival in arrivals.values():
        last = arrival.last
        present = (await library.versions(last.kind, last.name, folder=last.folder))[-1]
        (same if not arrival.to_put else changed if arrival.there else added).append(present)
    return Imported(tuple(added), tuple(changed), tuple(same))
