"""Blocks, payloads and workflows kept in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .._clock import now_us
from ..documents import Document, Kind, Use, decode, encode, in_order, is_match
from .library_rules import conflict_in, in_use, not_found, taken, unknown_use

__all__ = ["MemoryLibrary"]

_Key = tuple[str, str, str]


@dataclass(slots=True)
class _Version:
    """Content as a line, so that nobody shares a mutable part of it."""

    content: bytes
    uses: tuple[tuple[_Kept, int], ...]
    at: int


@dataclass(slots=True, eq=False)
class _Kept:
    """A document with its versions; others use it whatever it is called."""

    kind: Kind
    folder: str
    name: str
    versions: list[_Version] = field(default_factory=list[_Version])
    deleted_at: int | None = None

    def document(self, version: int | None = None) -> Document:
        """One version; the present one unless said otherwise."""
        number = len(self.versions) if version is None else version
        kept = self.versions[number - 1]
        uses = tuple(Use(one.kind, one.name, version=at, folder=one.folder) for one, at in kept.uses)
        about = Document(
            self.kind,
            self.name,
            {},
            folder=self.folder,
            uses=uses,
            version=number,
            created_at=self.versions[0].at,
            updated_at=kept.at,
            deleted_at=self.deleted_at,
        )
        return decode(kept.content, like=about)


class MemoryLibrary:
    """A Library that forgets everything when the process ends.

    Example:
        >>> import anyio
        >>> async def kept() -> int:
        ...     return (await MemoryLibrary().put(Document("block", "voice", {"text": "Be brief."}))).version
        >>> anyio.run(kept)
        1
    """

    def __init__(self) -> None:
        self._kept: dict[_Key, _Kept] = {}

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        """Add the next version; see `Library.put`."""
        content = encode(document)
        kept = self._kept.get((document.kind, document.folder, document.name))
        is_there = kept is not None and kept.deleted_at is None
        conflict = conflict_in(document, expected=expected, present=len(kept.versions) if kept and is_there else None)
        uses = tuple(self._used(document, use) for use in document.uses)
        is_same = kept is not None and (kept.versions[-1].content, kept.versions[-1].uses) == (content, uses)
        if kept is not None and is_there and is_same and expected != 0:
            return kept.document()
        if conflict is not None:
            raise conflict
        if kept is None:
            kept = _Kept(document.kind, document.folder, document.name)
            self._kept[kept.kind, kept.folder, kept.name] = kept
        kept.deleted_at = None
        if not is_same:
            kept.versions.append(_Version(content, uses, now_us() if at is None else at))
        return kept.document()

    def _used(self, document: Document, use: Use) -> tuple[_Kept, int]:
        kept = self._kept.get((use.kind, use.folder, use.name))
        if kept is None or not 1 <= use.version <= len(kept.versions):
            raise unknown_use(document, use)
        return kept, use.version

    async def get(self, kind: Kind, name: str, *, folder: str = "", version: int | None = None) -> Document:
        """One version; see `Library.get`."""
        kept = self._kept.get((kind, folder, name))
        known = len(kept.versions) if kept is not None else 0
        is_hidden = version is None and kept is not None and kept.deleted_at is not None
        if kept is None or is_hidden or not 1 <= (known if version is None else version) <= known:
            raise not_found(kind, name, folder=folder, version=version, known=known)
        return kept.document(version)

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
        """Present versions in order; see `Library.list`."""
        documents = [
            kept.document()
            for kept in self._kept.values()
            if (kind is None or kept.kind == kind)
            and (name is None or kept.name == name)
            and (deleted is None or (kept.deleted_at is not None) is deleted)
        ]
        return in_order(one for one in documents if is_match(one, folder=folder, tag=tag, text=text))

    async def versions(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Every version; see `Library.versions`."""
        kept = self._kept.get((kind, folder, name))
        if kept is None:
            raise not_found(kind, name, folder=folder)
        return [kept.document(number) for number in range(1, len(kept.versions) + 1)]

    async def users(self, kind: Kind, name: str, *, folder: str = "") -> Sequence[Document]:
        """Who uses it; see `Library.users`."""
        kept = self._kept.get((kind, folder, name))
        if kept is None:
            raise not_found(kind, name, folder=folder)
        return in_order(self._users(kept))

    def _users(self, kept: _Kept) -> Iterator[Document]:
        for other in self._kept.values():
            is_user = other is not kept and any(one is kept for one, _ in other.versions[-1].uses)
            if is_user and other.deleted_at is None:
                yield other.document()

    async def rename(
        self, kind: Kind, name: str, *, to: str, folder: str = "", to_folder: str | None = None
    ) -> Document:
        """Give it another name; see `Library.rename`."""
        kept = self._there(kind, name, folder)
        renamed = replace(kept.document(), name=to, folder=folder if to_folder is None else to_folder)
        other = self._kept.get((kind, renamed.folder, to))
        if other is not None and other is not kept:
            raise taken(renamed, is_deleted=other.deleted_at is not None, version=len(other.versions))
        del self._kept[kind, folder, name]
        kept.name, kept.folder = renamed.name, renamed.folder
        self._kept[kind, kept.folder, kept.name] = kept
        return kept.document()

    def _there(self, kind: Kind, name: str, folder: str) -> _Kept:
        kept = self._kept.get((kind, folder, name))
        if kept is None or kept.deleted_at is not None:
            raise not_found(kind, name, folder=folder, known=len(kept.versions) if kept is not None else 0)
        return kept

    async def delete(
        self, kind: Kind, name: str, *, folder: str = "", force: bool = False, at: int | None = None
    ) -> None:
        """Take it out of lists; see `Library.delete`."""
        kept = self._there(kind, name, folder)
        users = [] if force else [*self._users(kept)]
        if users:
            raise in_use(kind, name, folder=folder, users=users)
        kept.deleted_at = now_us() if at is None else at

    async def purge(self, *, before: int | None = None) -> int:
        """Forget deleted documents; see `Library.purge`."""
        staying = [kept for kept in self._kept.values() if not _is_over(kept, before)]
        found = {id(kept) for kept in staying}
        for kept in staying:  # grows as it goes
            for one in _made_of(kept):
                if id(one) not in found:
                    found.add(id(one))
                    staying.append(one)
        count = len(self._kept) - len(found)
        self._kept = {key: kept for key, kept in self._kept.items() if id(kept) in found}
        return count

    async def aclose(self) -> None:
        """Nothing to let go of; the documents stay readable."""


def _made_of(kept: _Kept) -> Iterator[_Kept]:
    """What any version of it uses."""
    return (one for version in kept.versions for one, _ in version.uses)


def _is_over(kept: _Kept, before: int | None) -> bool:
    return kept.deleted_at is not None and (before is None or kept.deleted_at < before)
