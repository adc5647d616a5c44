"""What the rules of libraries work with: a library, one loop, and a few ways to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from .._json import dumps
from ..documents import Document, Library
from ._adapter import AdapterCase
from ._suite import SuiteRule, broken

__all__ = ["LibraryCase", "Reopen", "Rule", "block", "fault_in", "fault_in_list", "names", "payload", "workflow"]

Reopen = Callable[[Library], Library | Awaitable[Library]]


@dataclass
class LibraryCase(AdapterCase[Library]):
    """One empty library under test, on one loop.

    Attributes:
        library: The library with a limit on each call; `raw` is the same as the factory made it.
    """

    library: Library = field(init=False)

    def __post_init__(self) -> None:
        self.library = self.bounded(self.raw)

    async def put(self, *documents: Document) -> list[Document]:
        """Each of them put, in order."""
        return [await self.library.put(document) for document in documents]

    async def history(self, document: Document) -> Sequence[Document]:
        """Every version of it."""
        return await self.library.versions(document.kind, document.name, folder=document.folder)

    async def unchanged(self, before: Sequence[Document], what: str) -> None:
        """Broken when the versions of a document are not those any more."""
        fault = fault_in_list(await self.history(before[-1]), before)
        if fault:
            broken(f"after {what}, {fault}")


class Rule(SuiteRule[LibraryCase]):
    """One rule of the suite of libraries."""

    __slots__ = ()


def block(name: str = "voice", text: str = "Be brief.", **values: Any) -> Document:  # Any: fields of a document
    """A block, as yet in no library."""
    return replace(Document("block", name, {"text": text}), **values)


def payload(name: str = "draft", text: str = "Write.", **values: Any) -> Document:  # Any: as above
    """A payload, as yet in no library."""
    return replace(Document("payload", name, {"blocks": [text], "temperature": 0}), **values)


def workflow(name: str = "tea", **values: Any) -> Document:  # Any: as above
    """A workflow, as yet in no library."""
    return replace(Document("workflow", name, {"llmorch": 1, "steps": [{"name": "draft"}]}), **values)


def names(documents: Sequence[Document]) -> list[str]:
    """Kind, folder and name of each."""
    return [f"{one.kind} {one.folder}{'/' if one.folder else ''}{one.name}" for one in documents]


def fault_in(found: Document, wanted: Document) -> str | None:
    """The first field that is not as it should be; data are compared as text, where 0, false and 0.0 differ."""
    if not isinstance(cast("object", found), Document):
        return f"it is {type(found).__name__}, not a Document"
    for one in fields(Document):
        have, want = getattr(found, one.name), getattr(wanted, one.name)
        is_same = dumps(have) == dumps(want) if one.name == "body" else have == want
        if not is_same:
            return f"the {one.name} of {names([wanted])[0]} is {have!r}, not {want!r}"
    return None


def fault_in_list(found: Sequence[Document], wanted: Sequence[Document]) -> str | None:
    """The first document that is not as it should be."""
    if len(found) != len(wanted):
        return f"{len(found)} documents came back, not {len(wanted)}"
    faults = (fault_in(have, want) for have, want in zip(found, wanted, strict=True))
    return next((fault for fault in faults if fault), None)
