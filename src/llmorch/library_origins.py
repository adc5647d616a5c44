"""What a payload or workflow was made of: the versions of a library that are in it, word for word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import cast

from .definition.document import FORMAT
from .documents import Document, DocumentInvalid, DocumentNotFound, Kind, Library, Use, encode
from .models.payload import own_name
from .models.values import Data

__all__ = ["is_same", "origins_of"]

_Fields = Mapping[str, Data]


async def origins_of(library: Library, document: Document, *, former: Document | None) -> tuple[Use, ...]:
    """The versions that a document is made of, in the order in which they stand in it.

    A part is looked up by its name; where nothing of that name is the same, among what the former version was made of,
    because that may have been renamed since.

    Args:
        former: The present version of the document, if there is one.
    """
    found: dict[Use, None] = {}
    for part in _parts(document):
        use = await _named(library, part) or await _known(library, part, former)
        if use is not None:
            found[use] = None
    return tuple(found)


def is_same(one: Document, other: Document) -> bool:
    """Whether two documents of a kind say the same, whatever they are called."""
    if one.kind == "workflow":  # its tags are the library's, and not part of it
        one, other = replace(one, tags=()), replace(other, tags=())
    return encode(one) == encode(other)


def _parts(document: Document) -> Iterator[Document]:
    """What stands in the body of a payload or workflow, as the documents it would be by itself."""
    if document.kind == "payload":
        yield from _blocks(document.name, document.body)
    elif document.kind == "workflow":
        yield from _steps(document.body)


def _steps(workflow: _Fields) -> Iterator[Document]:
    for step in cast("list[_Fields]", workflow.get("steps", [])):
        if "payload" in step:
            yield from _part("payload", step["payload"])
            yield from _blocks(step["payload"]["name"], step["payload"])
        if "workflow" in step:
            yield from _part("workflow", step["workflow"])
            yield from _steps(step["workflow"])


def _blocks(payload: str, fields: _Fields) -> Iterator[Document]:
    for position, block in enumerate(cast("list[str | _Fields]", fields.get("blocks", [])), 1):
        whole = {"name": own_name(payload, position), "text": block} if isinstance(block, str) else block
        yield from _part("block", whole)


def _part(kind: Kind, fields: _Fields) -> Iterator[Document]:
    about = {name: fields[name] for name in ("folder", "description") if name in fields}
    own = ("name", "tags", *about)
    body = {"llmorch": FORMAT, **{name: value for name, value in fields.items() if name not in own}}
    try:
        yield Document(kind, fields["name"], body, tags=tuple(fields.get("tags", ())), **about)
    except DocumentInvalid:  # a name that no library has
        return


async def _named(library: Library, part: Document) -> Use | None:
    try:
        history = await library.versions(part.kind, part.name, folder=part.folder)
    except DocumentNotFound:
        return None
    for one in reversed(history):
        if is_same(one, part):
            return Use(one.kind, one.name, version=one.version, folder=one.folder)
    return None


async def _known(library: Library, part: Document, former: Document | None) -> Use | None:
    for use in former.uses if former is not None else ():
        if use.kind == part.kind:
            one = await library.get(use.kind, use.name, folder=use.folder, version=use.version)
            if is_same(one, part):
                return use
    return None
