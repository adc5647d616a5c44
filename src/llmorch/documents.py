"""Blocks, payloads and workflows as a library keeps them: the record, the port, and what every adapter does alike."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final, Literal, Protocol, cast, runtime_checkable

from ._json import dumps
from .errors import DocumentConflict, DocumentInUse, DocumentInvalid, DocumentNotFound, ValueRefused
from .models.values import Data, to_data

__all__ = [
    "KINDS",
    "Document",
    "DocumentConflict",
    "DocumentInUse",
    "DocumentInvalid",
    "DocumentNotFound",
    "Kind",
    "Library",
    "Use",
    "decode",
    "encode",
    "in_folder",
    "in_order",
    "is_match",
    "label",
]

Kind = Literal["block", "payload", "workflow"]
KINDS: Final[tuple[Kind, ...]] = ("block", "payload", "workflow")

_MAX_NAME: Final = 200
_MAX_FOLDER: Final = 1_000


@dataclass(frozen=True, slots=True)
class Use:
    """The version of another document that a document was made of.

    Example:
        >>> Use("block", "voice", version=3, folder="Phase 1").version
        3
    """

    kind: Kind
    name: str
    _: KW_ONLY
    version: int
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a block, payload or workflow.

    A document is known by its kind, name and folder; only blocks stand in folders. Its content is the body, the tags
    and the description. The library sets version and times.

    Attributes:
        kind: `block`, `payload` or `workflow`.
        name: What people call it.
        body: Its own fields as JSON data, without name, folder, tags and description.
        folder: Where a block stands, such as `Phase 1/Instructions`.
        tags: Words to find it by.
        description: A sentence for people.
        uses: What it was made of, under the names of today.
        version: From 1; 0 before it is put.
        created_at: When the first version was put, in microseconds UTC.
        updated_at: When this version was put, in microseconds UTC.
        deleted_at: When it was deleted, in microseconds UTC; None while it is there.

    Raises:
        DocumentInvalid: A name, folder or tag that none may have.

    Example:
        >>> Document("block", "voice", {"text": "Be brief."}, folder="Tone", tags=("style",)).folder
        'Tone'
    """

    kind: Kind
    name: str
    body: Mapping[str, Data]
    _: KW_ONLY
    folder: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""
    uses: tuple[Use, ...] = ()
    version: int = 0
    created_at: int = 0
    updated_at: int = 0
    deleted_at: int | None = None

    def __post_init__(self) -> None:
        faults = [fault for fault in _faults(self) if fault]
        if faults:
            raise DocumentInvalid(faults[0], faults=faults)


def _faults(document: Document) -> Iterator[str | None]:
    kind, folder, tags = cast("object", document.kind), document.folder, cast("object", document.tags)
    if kind not in KINDS:
        yield f"A document is a block, payload or workflow, not {kind!r}"
        return
    yield _fault_of_text(document.name, "name", longest=_MAX_NAME)
    if folder:
        yield _fault_of_text(folder, "folder", longest=_MAX_FOLDER)
        if kind != "block":
            yield f"{label(document.kind, document.name)} stands in folder {folder!r}; only blocks stand in folders"
        if any(part in ("", ".", "..") or part != part.strip() for part in folder.split("/")):
            yield f"The folder {folder!r} is none; write names with single slashes between, such as 'Phase 1/Tone'"
    if not isinstance(tags, tuple):
        yield f"{label(document.kind, document.name)} has tags={tags!r}; give a tuple of texts"
        return
    for tag in document.tags:
        yield _fault_of_text(tag, "tag", longest=_MAX_NAME)


def _fault_of_text(text: object, what: str, *, longest: int) -> str | None:
    if not isinstance(text, str) or not text.strip():
        return f"A {what} is a text that is not empty, not {text!r}"
    if len(text) > longest:
        return f"The {what} {text[:20]!r}... has {len(text)} characters; {longest} is the most"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        return f"The {what} {text!r} holds a control character; leave it out"
    return None


@runtime_checkable
class Library(Protocol):
    """Keeps blocks, payloads and workflows with every version.

    Each method is one transaction: all of it is there when it returns, and nothing when it raises.
    """

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        """Add the next version, and give it as it is kept; a deleted document is there again.

        Where content and uses are those of the present version, that one is given back and nothing is added, unless
        `expected` is 0. Of several writers that expect the same version, exactly one wins.

        Args:
            expected: The present version as the caller has seen it; 0 when there must be none; unset, any.
            at: When it was put, in microseconds UTC; unset: now.

        Raises:
            DocumentConflict: The present version is another.
            DocumentNotFound: What it uses is not there.
            ValueRefused: The body is no JSON data.
        """
        ...

    async def get(self, kind: Kind, name: str, *, folder: str = "", version: int | None = None) -> Document:
        """The present version, or any one by its number, that of a deleted document too.

        Raises:
            DocumentNotFound: There is none.
        """
        ...

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
        """Present versions by kind, folder and name; see `is_match` for what fits.

        Args:
            name: Exactly this name.
            folder: Blocks of this folder and those inside it.
            tag: One of the tags is exactly this.
            text: Each of its words stands in the name, a tag, the description or a text of the body.
            deleted: Only deleted ones; None for both.
        """
        ...

    async def versions(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Every version, oldest first; those of a deleted document too.

        Raises:
            DocumentNotFound: There is no such document.
        """
        ...

    async def users(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """The documents whose present version uses any version of this one, without deleted ones; in order of lists.

        Raises:
            DocumentNotFound: There is no such document, deleted ones included.
        """
        ...

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str = "", to_folder: str | None = None
    ) -> Document:
        """Give it another name, folder or both; it keeps its versions and its users.

        Args:
            to_folder: Where it stands from now on; unset, where it stood.

        Raises:
            DocumentConflict: Another document has that name there, perhaps a deleted one.
            DocumentNotFound: There is no such document.
        """
        ...

    async def delete(
        self, kind: Kind, name: str, *, folder: str = "", force: bool = False, at: int | None = None
    ) -> None:
        """Take it out of lists; its versions are kept until they are purged.

        Args:
            force: Also when it has users, which keep what they were made of.
            at: When it was deleted, in microseconds UTC; unset: now.

        Raises:
            DocumentInUse: It has users; the text names them.
            DocumentNotFound: There is no such document.
        """
        ...

    async def purge(self, *, before: int | None = None) -> int:
        """Forget deleted documents with all their versions, and say how many.

        What any version of a document that stays was made of, stays too.

        Args:
            before: Only those deleted before, in microseconds UTC.
        """
        ...

    async def aclose(self) -> None:
        """Let go of everything."""
        ...


def encode(document: Document) -> bytes:
    """The content (body, tags, description) as one line of ASCII; documents of one content have equal lines.

    Raises:
        ValueRefused: It is no JSON data.
    """
    what = label(document.kind, document.name)
    content = {"body": document.body, "tags": document.tags, "description": document.description}
    try:
        return dumps(to_data(content, where=what)).encode("ascii")
    except ValueError as error:
        raise ValueRefused(f"{what} holds a number that JSON text cannot: {error}") from error


def decode(content: bytes, *, like: Document) -> Document:
    """The document with the content that `encode` wrote; everything else is that of `like`.

    Raises:
        ValueError: It is no such line.
    """
    try:
        fields = json.loads(content)
        return replace(like, body=fields["body"], tags=tuple(fields["tags"]), description=fields["description"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no document: {type(error).__name__} {error}") from error


def is_match(document: Document, *, folder: str | None = None, tag: str | None = None, text: str | None = None) -> bool:
    """Whether a present version belongs into a list with these filters; None asks for nothing.

    Tags fit as a whole and letter by letter. Words of a search fit anywhere in a text, upper or lower case.

    Example:
        >>> is_match(Document("block", "voice", {"text": "Be brief."}, tags=("tone",)), text="BRIEF tone")
        True
        >>> is_match(Document("block", "voice", {"text": "Be brief."}, tags=("tone",)), tag="ton")
        False
    """
    if folder is not None and (document.kind != "block" or not in_folder(document.folder, folder)):
        return False
    if tag is not None and tag not in document.tags:
        return False
    if text is None:
        return True
    shown = [_folded(one) for one in (document.name, document.description, *document.tags, *_texts(document.body))]
    return all(any(word in one for one in shown) for word in _folded(text).split())


def in_folder(folder: str, within: str) -> bool:
    """Whether it is that folder or inside it; every folder is inside `""`."""
    return not within or folder == within or folder.startswith(f"{within}/")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _texts(value: Data) -> Iterator[str]:
    """Every text of the data; keys are no texts of anybody's."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Data]", value).values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[Data]", value):
            yield from _texts(item)


def in_order(documents: Iterable[Document]) -> list[Document]:
    """The documents in the order of lists: blocks, payloads, workflows; by folder; by name."""
    return sorted(documents, key=lambda one: (KINDS.index(one.kind), one.folder, one.name))


def label(kind: str, name: str, *, folder: str = "") -> str:
    """How texts name a document."""
    return f"{kind.capitalize()} {name!r}{f' in folder {folder!r}' if folder else ''}"
