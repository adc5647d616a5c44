"""The library: every method is one turn on the file, in a worker thread, with at most one line written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread

from llmorch.documents import (
    Document,
    DocumentConflict,
    DocumentInUse,
    DocumentNotFound,
    Kind,
    encode,
    in_order,
    is_match,
    label,
)

from .file import LinesFile
from .shelf import Shelf

T = TypeVar("T")


class LinesLibrary:
    """Documents in one file, one JSON line for each change. All of them are in memory, too: for thousands.

    Args:
        path: The file; it is made when it is not there. Runs need a file of their own.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = LinesFile(self.path, Shelf())

    async def _do(self, ask: Callable[[Shelf], T]) -> T:
        """Ask in a thread. A cancellation waits until the thread is done, so nothing is ever half decided."""

        def turn() -> T:
            with self._file.turn() as shelf:
                return ask(shelf)

        return await anyio.to_thread.run_sync(turn)

    def _commit(self, **change: Any) -> None:
        self._file.commit(json.dumps(change, allow_nan=False))

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        content = encode(document).decode("ascii")  # what cannot be written is refused before anything is

        def ask(shelf: Shelf) -> Document:
            n, versions, is_there = shelf.find(document.kind, document.name, folder=document.folder)
            uses = [_used(shelf, document, place) for place in range(len(document.uses))]
            is_same = bool(versions) and (versions[-1].content, versions[-1].uses) == (content, uses)
            if n is not None and is_there and is_same and expected != 0:
                return shelf.document(n)
            present = len(versions) if is_there else 0
            if expected is not None and expected != present:
                raise DocumentConflict(
                    f"{_named(document)} is at version {present}, not {expected}; read it again, and put yours on top",
                    version=present or None,
                )
            change: dict[str, Any] = {"n": shelf.next if n is None else n}
            if n is None:
                change["key"] = [document.kind, document.folder, document.name]
            if not is_same:
                change["version"] = [content, uses, _now_us() if at is None else at]
            self._commit(**change)
            return shelf.document(change["n"])

        return await self._do(ask)

    async def get(self, kind: Kind, name: str, *, folder: str = "", version: int | None = None) -> Document:
        def ask(shelf: Shelf) -> Document:
            n, versions, is_there = shelf.find(kind, name, folder=folder)
            is_known = is_there if version is None else 1 <= version <= len(versions)
            if n is None or not is_known:
                raise _missing(kind, name, folder)
            return shelf.document(n, version)

        return await self._do(ask)

    async def list(
        self,
        kind: Kind | None = None,
        *,
        name: str | None = None,
        folder: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        deleted: bool | None = False,
    ) -> Sequence[Document]:
        documents = await self._do(lambda shelf: [shelf.document(n) for n in shelf.kept])
        return in_order(
            one
            for one in documents
            if kind in (None, one.kind)
            and name in (None, one.name)
            and deleted in (None, one.deleted_at is not None)
            and is_match(one, folder=folder, tag=tag, text=text)
        )

    async def versions(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        def ask(shelf: Shelf) -> Sequence[Document]:
            n, versions, _ = shelf.find(kind, name, folder=folder)
            if n is None:
                raise _missing(kind, name, folder)
            return [shelf.document(n, version) for version in range(1, len(versions) + 1)]

        return await self._do(ask)

    async def users(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        def ask(shelf: Shelf) -> Sequence[Document]:
            n, _, _ = shelf.find(kind, name, folder=folder)
            if n is None:
                raise _missing(kind, name, folder)
            return in_order(shelf.users(n))

        return await self._do(ask)

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str = "", to_folder: str | None = None
    ) -> Document:
        def ask(shelf: Shelf) -> Document:
            n = _there(shelf, kind, name, folder)
            renamed = replace(shelf.document(n), name=to, folder=folder if to_folder is None else to_folder)
            other, versions, is_there = shelf.find(kind, to, folder=renamed.folder)
            if other not in (None, n):
                raise DocumentConflict(
                    f"{_named(renamed)} is there already{'' if is_there else ', though deleted'}; take another name",
                    version=len(versions) if is_there else None,
                )
            self._commit(n=n, key=[kind, renamed.folder, to])
            return renamed

        return await self._do(ask)

    async def delete(
        self, kind: Kind, name: str, *, folder: str = "", force: bool = False, at: int | None = None
    ) -> None:
        def ask(shelf: Shelf) -> None:
            n = _there(shelf, kind, name, folder)
            users = [] if force else in_order(shelf.users(n))
            if users:
                names = ", ".join(f"{one.kind} {one.name!r}" for one in users)
                raise DocumentInUse(
                    f"{label(kind, name, folder=folder)} is used by {names}; take it out of them, or give force=True",
                    users=users,
                )
            self._commit(n=n, deleted_at=_now_us() if at is None else at)

        await self._do(ask)

    async def purge(self, *, before: int | None = None) -> int:
        def ask(shelf: Shelf) -> int:
            over = shelf.over(before)
            if over:
                self._commit(purge=over)
            return len(over)

        return await self._do(ask)

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._file.close)


def _used(shelf: Shelf, document: Document, place: int) -> tuple[int, int]:
    use = document.uses[place]
    n, versions, _ = shelf.find(use.kind, use.name, folder=use.folder)
    if n is None or not 1 <= use.version <= len(versions):
        raise DocumentNotFound(
            f"{_named(document)} says it was made of version {use.version} of {use.kind} {use.name!r}, which is not "
            "in the library; put that first",
            kind=use.kind,
            name=use.name,
        )
    return n, use.version


def _there(shelf: Shelf, kind: Kind, name: str, folder: str) -> int:
    n, _, is_there = shelf.find(kind, name, folder=folder)
    if n is None or not is_there:
        raise _missing(kind, name, folder)
    return n


def _missing(kind: Kind, name: str, folder: str) -> DocumentNotFound:
    text = f"{label(kind, name, folder=folder)} is not in the library, or was deleted, or has no such version"
    return DocumentNotFound(text, kind=kind, name=name)


def _named(document: Document) -> str:
    return label(document.kind, document.name, folder=document.folder)


def _now_us() -> int:
    return time.time_ns() // 1_000
