"""What the rules of libraries work with: a library, one loop, and a few ways to ask."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import anyio

from .._clock import monotonic
from .._json import dumps
from ..documents import Document, Library
from ._suite import SuiteRule, broken

__all__ = ["LibraryCase", "Reopen", "Rule", "block", "fault_in", "fault_in_list", "names", "payload", "workflow"]

Reopen = Callable[[Library], Library | Awaitable[Library]]
_CLOSE_S = 5.0


@dataclass
class LibraryCase:
    """One empty library under test, on one loop.

    Attributes:
        raw: The library as the factory made it; `library` is the same with a limit on each call.
        again: Opens the same data once more, or None for a library that keeps nothing.
        limit_s: Seconds a call may take.
        asked_at: When the library was last asked something, by the clock of `monotonic`.
        asking: The method that was asked last.
    """

    raw: Library
    again: Reopen | None
    limit_s: float
    asked_at: float = field(default_factory=monotonic)
    asking: str = "the factory"
    handles: list[Library] = field(default_factory=list[Library])
    library: Library = field(init=False)

    def __post_init__(self) -> None:
        self.library = self.bounded(self.raw)

    def bounded(self, raw: Library) -> Library:
        """The library with a limit on each call; closed when the rule ends."""
        self.handles.append(raw)
        return cast("Library", _Bounded(raw, self))

    async def opened(self) -> Library:
        """Another handle on the same data."""
        assert self.again is not None
        self.asking = "reopen"
        made: Any = self.again(self.raw)  # Any: a library, or what one waits for to get it
        return self.bounded(await made if inspect.isawaitable(made) else made)

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

    async def close(self) -> None:
        """Let go of every handle; what that raises is the business of the rule `closing`."""
        for handle in self.handles:
            with anyio.move_on_after(_CLOSE_S, shield=True):
                try:
                    await handle.aclose()
                except Exception:  # as above
                    continue


class _Bounded:
    """Any library, with a limit on each of its methods."""

    def __init__(self, raw: Library, case: LibraryCase) -> None:
        self._raw, self._case = raw, case

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:  # Any: whatever the method gives
        method = getattr(self._raw, name)
        case = self._case

        async def asked(*given: Any, **named: Any) -> Any:  # Any: handed on as they are
            case.asked_at, case.asking = monotonic(), f"{name}()"
            with anyio.move_on_after(case.limit_s):
                return await method(*given, **named)
            broken(f"{name}() did not end within {case.limit_s:g} s")

        return asked


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
