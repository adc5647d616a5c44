"""When a library refuses, and what it says then: the same for every adapter."""

from __future__ import annotations

from collections.abc import Sequence

from ..documents import (
    Document,
    DocumentConflict,
    DocumentInUse,
    DocumentNotFound,
    Kind,
    Use,
    in_order,
    label,
)

__all__ = ["conflict_in", "in_use", "not_found", "taken", "unknown_use"]

_MOST_NAMED = 10


def not_found(
    kind: Kind, name: str, *, folder: str = "", version: int | None = None, known: int = 0
) -> DocumentNotFound:
    """There is no such document; or it is deleted; or it has no such version.

    Args:
        known: How many versions it has.
    """
    what = label(kind, name, folder=folder)
    if not known:
        text = f"{what} is not in the library"
    elif version is None:
        text = f"{what} was deleted; its {known} versions can still be read by number, and putting one brings it back"
    else:
        text = f"{what} has no version {version}; it has 1 to {known}"
    return DocumentNotFound(text, kind=kind, name=name)


def conflict_in(document: Document, *, expected: int | None, present: int | None) -> DocumentConflict | None:
    """Why a document may not be put, or None.

    Args:
        present: The version that is there; None when none is, or it is deleted.
    """
    if expected is None or expected == (present or 0):
        return None
    what = label(document.kind, document.name, folder=document.folder)
    if present is None:
        text = f"{what} is not there, so version {expected} cannot be followed; leave out expected= to make it"
    elif expected == 0:
        text = f"{what} is there already, at version {present}; take another name, or save the next version of it"
    else:
        text = f"{what} is at version {present}, not {expected}: read what somebody else put, and put yours on top"
    return DocumentConflict(text, version=present)


def taken(document: Document, *, is_deleted: bool, version: int) -> DocumentConflict:
    """Another document has the name that one was to get."""
    what = label(document.kind, document.name, folder=document.folder)
    text = f"{what} was deleted, and its versions keep the name; purge it" if is_deleted else f"{what} is there already"
    return DocumentConflict(f"{text}, or take another name", version=None if is_deleted else version)


def in_use(kind: Kind, name: str, *, folder: str = "", users: Sequence[Document]) -> DocumentInUse:
    """A document may not be deleted without force."""
    ordered = in_order(users)
    names = ", ".join(f"{one.kind} {one.name!r}" for one in ordered[:_MOST_NAMED])
    more = f" and {len(ordered) - _MOST_NAMED} more" if len(ordered) > _MOST_NAMED else ""
    return DocumentInUse(
        f"{label(kind, name, folder=folder)} is used by {names}{more}; take it out of them first, or delete it with "
        "force=True (they keep their own copy of it)",
        users=ordered,
    )


def unknown_use(document: Document, use: Use) -> DocumentNotFound:
    """A document says that it was made of what the library does not have."""
    what = label(use.kind, use.name, folder=use.folder)
    return DocumentNotFound(
        f"{label(document.kind, document.name)} says it was made of version {use.version} of {what}, which is not in "
        "the library; put that first, or leave it out of uses",
        kind=use.kind,
        name=use.name,
    )
