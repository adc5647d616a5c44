"""Documents by the names people give, which may leave out the folder or be misspelled."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ._yaml import dumps
from .definition.names import did_you_mean
from .documents import Document, DocumentNotFound, Kind, Library, label

__all__ = ["difference", "find", "folder_of", "folders_of"]


async def folder_of(library: Library, kind: Kind, *, name: str, folder: str | None, with_deleted: bool = False) -> str:
    """The folder that was given, or the only one with a block of that name.

    Raises:
        DocumentNotFound: Several folders have one.
    """
    if folder is not None or kind != "block":
        return folder or ""
    found = await library.list(kind, name=name, deleted=None if with_deleted else False)
    folders = [one.folder for one in found if one.deleted_at is None] or [one.folder for one in found]
    if len(folders) > 1:
        names = ", ".join(map(repr, folders))
        raise DocumentNotFound(
            f"There are blocks {name!r} in the folders {names}; say which one with folder=", kind=kind, name=name
        )
    return folders[0] if folders else ""


async def find(library: Library, kind: Kind, *, name: str, folder: str | None, version: int | None) -> Document:
    """One version of a document.

    Raises:
        DocumentNotFound: There is none; the text has the name that is most like it.
    """
    where = await folder_of(library, kind, name=name, folder=folder, with_deleted=version is not None)
    try:
        return await library.get(kind, name, folder=where, version=version)
    except DocumentNotFound as error:
        others = dict.fromkeys(one.name for one in await library.list(kind) if one.name != name)
        raise DocumentNotFound(f"{error.message}{did_you_mean(name, others)}", kind=kind, name=name) from None


def folders_of(blocks: Sequence[Document]) -> dict[str, int]:
    """Every folder, those that only hold folders too, and how many of the blocks stand right in it."""
    counts: dict[str, int] = {}
    for one in blocks:
        parts = one.folder.split("/") if one.folder else []
        for depth in range(1, len(parts) + 1):
            counts.setdefault("/".join(parts[:depth]), 0)
        counts[one.folder] = counts.get(one.folder, 0) + 1
    return dict(sorted(counts.items(), key=lambda found: found[0].split("/")))


def difference(old: Document, new: Document) -> str:
    """What changed, as lines with - and + of their YAML."""
    before, after = (_text(one).splitlines(keepends=True) for one in (old, new))
    titles = [f"{label(one.kind, one.name, folder=one.folder)}, version {one.version}" for one in (old, new)]
    return "".join(difflib.unified_diff(before, after, titles[0], titles[1]))


def _text(document: Document) -> str:
    about = {"description": document.description, "tags": list(document.tags)}
    return dumps({**{name: value for name, value in about.items() if value}, **document.body})
