"""Blocks, payloads and workflows under their names, with every version: what people use of a library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import anyio.to_thread

from .documents import Document, DocumentConflict, DocumentNotFound, Kind, Library
from .library_folder import blocks_in
from .library_forms import block_of, document_of, payload_of, workflow_of
from .library_import import Imported, OnDifference, bring, gathered
from .library_lookup import difference, find, folder_of, folders_of
from .library_origins import origins_of
from .library_text import MAX_BYTES, MAX_VERSIONS, read, write
from .models.block import Block
from .models.payload import Payload
from .workflow import Workflow
from .workflow_files import Code

__all__ = ["Collection", "Imported", "Renamed"]

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Renamed:
    """A document under its new name.

    Attributes:
        document: Its present version.
        users: The documents that were made of it; they go on naming it, by the new name, and their text stays.

    Example:
        >>> Renamed(Document("block", "tone", {"text": "Be brief."})).users
        ()
    """

    document: Document
    users: tuple[Document, ...] = ()


class Collection:
    """Keeps Block, Payload and Workflow objects in a library, with every version, tags, folders and search.

    A payload is kept with the text of its blocks, so that it never changes by itself; which versions of the library's
    blocks are in it is remembered in `uses`, as for the payloads of a workflow.

    Args:
        library: Where they are kept, such as `MemoryLibrary()` or `SqliteLibrary("library.db")`.
        code: Functions and types that payloads and workflows name: a list, or a mapping of address -> object.

    Example:
        >>> import anyio
        >>> from llmorch.stores.memory_library import MemoryLibrary
        >>> async def main() -> None:
        ...     async with Collection(MemoryLibrary()) as blocks:
        ...         await blocks.save(Block("voice", "Be brief.", tags=["tone"]))
        ...         await blocks.save(Block("voice", "Be brief and kind.", tags=["tone"]))
        ...         print([one.version for one in await blocks.list(tag="tone")])
        ...         print((await blocks.block("voice", version=1)).text)
        >>> anyio.run(main)
        [2]
        Be brief.
    """

    def __init__(self, library: Library, *, code: Code | None = None) -> None:
        self.library = library
        self.code = code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the library."""
        await self.library.aclose()

    # Saving and reading

    async def add(self, thing: Block | Payload[Any] | Workflow[Any], *, tags: Iterable[str] | None = None) -> Document:
        """Save something whose name is free.

        Raises:
            DocumentConflict: It is not; see `save` for the others.
        """
        return await self.save(thing, expected=0, tags=tags)

    async def save(
        self,
        thing: Block | Payload[Any] | Workflow[Any],
        *,
        expected: int | None = None,
        tags: Iterable[str] | None = None,
    ) -> Document:
        """Save a first or next version; what equals the present one adds none.

        Args:
            expected: The version it was made from; unset, whatever is there is followed.
            tags: Of a workflow, which has none of its own; unset, those of its present version.

        Raises:
            DocumentConflict: The present version is not the expected one.
            DocumentInvalid: It has code that no other process can find.
        """
        if tags is not None and not isinstance(thing, Workflow):
            raise TypeError("save(tags=...) is for workflows; a Block or Payload has tags of its own")
        given = None if tags is None else tuple(tags)
        for attempt in range(1, _TRIES + 1):
            document = document_of(thing)
            former = await self._present(document)
            if isinstance(thing, Workflow):
                kept = former.tags if former is not None else ()
                document = replace(document, tags=kept if given is None else given)
            document = replace(document, uses=await origins_of(self.library, document, former=former))
            seen = former.version if former is not None else 0
            try:
                return await self.library.put(document, expected=seen if expected is None else expected)
            except DocumentConflict:
                if expected is not None or attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")

    async def _present(self, document: Document) -> Document | None:
        try:
            return await self.library.get(document.kind, document.name, folder=document.folder)
        except DocumentNotFound:
            return None

    async def block(self, name: str, *, folder: str | None = None, version: int | None = None) -> Block:
        """The block of that name.

        Args:
            folder: Where it stands; unset, wherever the only block of that name does.
            version: Any one by its number; unset, the present one.

        Raises:
            DocumentNotFound: There is none, or there are several.
        """
        return block_of(await self.document("block", name, folder=folder, version=version))

    async def payload(self, name: str, *, version: int | None = None, code: Code | None = None) -> Payload[Any]:
        """The payload of that name.

        Args:
            code: Functions and types it names; unset, the collection's.

        Raises:
            DocumentNotFound: There is none.
            CodeMissing: A function or type is not in `code`.
        """
        document = await self.document("payload", name, version=version)
        return payload_of(document, code=self.code if code is None else code)

    async def workflow(self, name: str, *, version: int | None = None, code: Code | None = None) -> Workflow[Any]:
        """The workflow of that name; see `payload`."""
        document = await self.document("workflow", name, version=version)
        return workflow_of(document, code=self.code if code is None else code)

    async def document(
        self, kind: Kind, name: str, *, folder: str | None = None, version: int | None = None
    ) -> Document:
        """One version as it is kept, with its number, times and uses; see `block`."""
        return await find(self.library, kind, name=name, folder=folder, version=version)

    async def _folder(self, kind: Kind, name: str, folder: str | None, *, with_deleted: bool = False) -> str:
        return await folder_of(self.library, kind, name=name, folder=folder, with_deleted=with_deleted)

    # Finding

    async def list(
        self,
        kind: Kind | None = None,
        *,
        folder: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        deleted: bool | None = False,
    ) -> Sequence[Document]:
        """Present versions by kind, folder and name; see `Library.list`."""
        return await self.library.list(kind, folder=folder, tag=tag, text=text, deleted=deleted)

    async def folders(self) -> dict[str, int]:
        """Every folder and how many blocks stand right in it, in order: each follows the folder it is in."""
        return folders_of(await self.library.list("block"))

    async def versions(self, kind: Kind, name: str, *, folder: str | None = None) -> Sequence[Document]:
        """Every version, oldest first; those of a deleted document too."""
        where = await self._folder(kind, name, folder, with_deleted=True)
        return await self.library.versions(kind, name, folder=where)

    async def users(self, kind: Kind, name: str, *, folder: str | None = None) -> Sequence[Document]:
        """The documents that were made of any version of this one; their `uses` say of which."""
        where = await self._folder(kind, name, folder, with_deleted=True)
        return await self.library.users(kind, name, folder=where)

    async def diff(self, kind: Kind, name: str, *, old: int, new: int | None = None, folder: str | None = None) -> str:
        """What changed from one version to another (unset: the present one), as lines with - and +."""
        before = await self.document(kind, name, folder=folder, version=old)
        return difference(before, await self.document(kind, name, folder=folder, version=new))

    # Changing

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str | None = None, to_folder: str | None = None
    ) -> Renamed:
        """Give it another name, folder or both; it keeps its versions, and what was made of it.

        Raises:
            DocumentConflict: Another one has that name there.
            DocumentNotFound: There is none.
        """
        where = await self._folder(kind, name, folder)
        document = await self.library.rename(kind, name, to=to, folder=where, to_folder=to_folder)
        return Renamed(document, tuple(await self.library.users(kind, to, folder=document.folder)))

    async def delete(self, kind: Kind, name: str, *, folder: str | None = None, force: bool = False) -> None:
        """Take it out of the library; its versions can be read by number until `purge`, and saving brings it back.

        Args:
            force: Also when others were made of it; they keep their own copy of its text.

        Raises:
            DocumentInUse: Others were made of it; the text names them.
            DocumentNotFound: There is none.
        """
        await self.library.delete(kind, name, folder=await self._folder(kind, name, folder), force=force)

    async def purge(self, *, before: int | None = None) -> int:
        """Forget what was deleted (before that moment, in microseconds UTC), and say how many; see `Library.purge`."""
        return await self.library.purge(before=before)

    # Texts

    async def export(
        self,
        kind: Kind | None = None,
        name: str | None = None,
        *,
        folder: str | None = None,
        format: Literal["yaml", "json"] = "yaml",
    ) -> str:
        """The whole library, one kind, or one document, as text; with all versions and what they were made of."""
        if name is None:
            found = list(await self.library.list(kind, folder=folder, deleted=None))
        elif kind is None:
            raise TypeError(f"export(name={name!r}) needs the kind as well")
        else:
            found = [await self.document(kind, name, folder=folder)]
        return write(await gathered(self.library, found), format=format)

    async def import_(
        self,
        text: str,
        *,
        on_difference: OnDifference = "version",
        max_bytes: int = MAX_BYTES,
        max_versions: int = MAX_VERSIONS,
    ) -> Imported:
        """Bring what `export` wrote, from anybody: it is checked as a whole before anything is put, and runs nothing.

        Args:
            on_difference: What a document means that is different in the library: its next `version`, or `refuse`
                everything.

        Raises:
            DocumentInvalid: The text has faults; all of them are listed with their place.
            DocumentConflict: Documents are different, or somebody else saved one meanwhile; see `bring`.
        """
        if on_difference not in ("version", "refuse"):
            raise ValueError(f"on_difference must be 'version' or 'refuse', not {on_difference!r}")
        histories = await anyio.to_thread.run_sync(lambda: read(text, max_bytes=max_bytes, max_versions=max_versions))
        return await bring(self.library, histories, on_difference=on_difference)

    async def load_blocks(self, path: str | os.PathLike[str], *, into: str = "") -> Imported:
        """Save the blocks of a folder of text files with front matter; see `blocks_in`.

        Args:
            into: The folder of the library that stands for it.
        """
        blocks = await anyio.to_thread.run_sync(lambda: blocks_in(path, into=into))
        added: list[Document] = []
        changed: list[Document] = []
        same: list[Document] = []
        for block in blocks:
            former = await self._present(document_of(block))
            kept = await self.save(block)
            is_same = former is not None and former.version == kept.version
            (same if is_same else added if former is None else changed).append(kept)
        return Imported(tuple(added), tuple(changed), tuple(same))
