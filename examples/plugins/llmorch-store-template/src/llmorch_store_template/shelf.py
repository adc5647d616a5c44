"""What the lines of a library's file add up to: documents with their versions, and who was made of whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from llmorch.documents import Document, Kind, Use, decode

Key = tuple[Kind, str, str]


@dataclass
class Version:
    """Content as the line that `encode` gives. `uses` are numbers of documents, which outlive their names."""

    content: str
    uses: list[tuple[int, int]]
    at: int


@dataclass
class Kept:
    """One document under the key (kind, folder, name) that it has now."""

    key: Key
    versions: list[Version] = field(default_factory=list[Version])
    deleted_at: int | None = None


class Shelf:
    """The state of the library; `apply` is the only thing that changes it."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        self.numbers: dict[Key, int] = {}
        self.next = 1

    def apply(self, line: str) -> None:
        """Take one commit: `purge`, or the number of a document with any of `key`, `version` and `deleted_at`."""
        change = json.loads(line)
        if "purge" in change:
            for n in change["purge"]:
                del self.numbers[self.kept.pop(n).key]
            return
        n = change["n"]
        if "key" in change:
            self._call(n, tuple(change["key"]))
        if "version" in change:
            content, uses, at = change["version"]
            self.kept[n].versions.append(Version(content, [(used, version) for used, version in uses], at))
        self.kept[n].deleted_at = change.get("deleted_at")

    def _call(self, n: int, key: Key) -> None:
        """Put a new document under that key, or one that is there under another."""
        kept = self.kept.setdefault(n, Kept(key))
        self.numbers.pop(kept.key, None)
        kept.key = key
        self.numbers[key] = n
        self.next = max(self.next, n + 1)

    def find(self, kind: Kind, name: str, *, folder: str) -> tuple[int | None, list[Version], bool]:
        """Number and versions of a document, and whether it is there: neither missing nor deleted."""
        n = self.numbers.get((kind, folder, name))
        if n is None:
            return None, [], False
        return n, self.kept[n].versions, self.kept[n].deleted_at is None

    def document(self, n: int, version: int | None = None) -> Document:
        """One version, unset the present one, with its uses under the names of today."""
        kept = self.kept[n]
        number = len(kept.versions) if version is None else version
        one = kept.versions[number - 1]
        kind, folder, name = kept.key
        about = Document(
            kind,
            name,
            {},
            folder=folder,
            uses=tuple(self._use(used, at) for used, at in one.uses),
            version=number,
            created_at=kept.versions[0].at,
            updated_at=one.at,
            deleted_at=kept.deleted_at,
        )
        return decode(one.content.encode("ascii"), like=about)

    def _use(self, n: int, version: int) -> Use:
        kind, folder, name = self.kept[n].key
        return Use(kind, name, version=version, folder=folder)

    def users(self, n: int) -> Iterator[Document]:
        """The documents that are there and whose present version uses any version of that one."""
        for other, kept in self.kept.items():
            if other != n and kept.deleted_at is None and n in dict(kept.versions[-1].uses):
                yield self.document(other)

    def over(self, before: int | None) -> list[int]:
        """What was deleted before that moment, without what the history of the rest was made of."""
        staying = [n for n, kept in self.kept.items() if kept.deleted_at is None or not _is_before(kept, before)]
        found = {*staying}
        for n in staying:  # grows as it goes
            made_of = {used for one in self.kept[n].versions for used, _ in one.uses} - found
            found |= made_of
            staying += made_of
        return [n for n in self.kept if n not in found]


def _is_before(kept: Kept, moment: int | None) -> bool:
    return kept.deleted_at is not None and (moment is None or kept.deleted_at < moment)
