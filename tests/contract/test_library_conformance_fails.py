"""The suite of libraries finds what it says it finds: each small broken one breaks the rules it is there for."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from llmorch.documents import Document, DocumentConflict, DocumentNotFound, Library, Use, encode, in_order
from llmorch.errors import StoreError, ValueRefused
from llmorch.stores.memory_library import MemoryLibrary, _Kept
from llmorch.testing import ConformanceFailed, check_library
from llmorch.testing.library_conformance import _RULES

ON_ASYNCIO = ("asyncio",)


class Incomplete(MemoryLibrary):
    users: Any = None


class ForgetsDescriptions(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        return await super().put(replace(document, description=""), **about)


class ClockOfItsOwn(MemoryLibrary):
    async def put(self, document: Document, *, at: int | None = None, **about: Any) -> Document:
        return await super().put(document, **about)


class KeepsTheLatestOnly(MemoryLibrary):
    async def get(self, kind: Any, name: str, *, folder: str = "", version: int | None = None) -> Document:
        found = await super().get(kind, name, folder=folder, version=version)
        latest = self._kept[kind, folder, name].document()
        return replace(found, body=latest.body)


class AddsTheSame(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        kept = self._kept.get((document.kind, document.folder, document.name))
        before = len(kept.versions) if kept else 0
        put = await super().put(document, **about)
        if kept is not None and len(kept.versions) == before and kept.deleted_at is None and about.get("expected") == 7:
            kept.versions.append(kept.versions[-1])
            return kept.document()
        return put


class BodyIsAll(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        kept = self._kept.get((document.kind, document.folder, document.name))
        if kept is not None and kept.deleted_at is None and about.get("expected") is None:
            present = kept.document()
            if encode(replace(document, tags=present.tags, description=present.description)) == encode(present):
                return present if present.uses == document.uses else await super().put(document, **about)
        return await super().put(document, **about)


class ComparesValues(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        kept = self._kept.get((document.kind, document.folder, document.name))
        if kept is not None and about.get("expected") is None and kept.document().body == document.body:
            present = kept.document()
            if (present.tags, present.description, present.uses) == (
                document.tags,
                document.description,
                document.uses,
            ):
                kept.deleted_at = None
                return kept.document()
        return await super().put(document, **about)


class LosesZeros(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        body = {name: value or None for name, value in document.body.items()}
        return await super().put(replace(document, body=body), **about)


class SortsKeys(MemoryLibrary):
    async def get(self, kind: Any, name: str, **about: Any) -> Document:
        found = await super().get(kind, name, **about)
        return replace(found, body=json.loads(json.dumps(found.body, sort_keys=True)))


class AnyLetterCase(MemoryLibrary):
    """Its key is compared like the names of some file systems."""

    async def put(self, document: Document, **about: Any) -> Document:
        for kind, folder, name in self._kept:
            if (kind, folder.lower(), name.lower()) == (
                document.kind,
                document.folder.lower(),
                document.name.lower(),
            ):
                return await super().put(replace(document, folder=folder, name=name), **about)
        return await super().put(document, **about)


class GivesItsOwn(MemoryLibrary):
    def __init__(self) -> None:
        super().__init__()
        self.given: dict[tuple[Any, ...], Document] = {}

    async def get(self, kind: Any, name: str, **about: Any) -> Document:
        found = await super().get(kind, name, **about)
        return self.given.setdefault((kind, name, *about.values(), found.version, found.updated_at), found)

    async def versions(self, kind: Any, name: str, *, folder: str = "") -> Sequence[Document]:
        found = await super().versions(kind, name, folder=folder)
        return [self.given.get((kind, name, one.version, one.updated_at), one) for one in found]


class ExpectsNothing(MemoryLibrary):
    async def put(self, document: Document, *, expected: int | None = None, **about: Any) -> Document:
        return await super().put(document, expected=None if expected else expected, **about)


class SaysOnlyNo(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        try:
            return await super().put(document, **about)
        except DocumentConflict:
            raise DocumentConflict("no") from None


class LooksThenPuts(MemoryLibrary):
    async def put(self, document: Document, *, expected: int | None = None, **about: Any) -> Document:
        kept = self._kept.get((document.kind, document.folder, document.name))
        present = len(kept.versions) if kept is not None and kept.deleted_at is None else 0
        await anyio.lowlevel.checkpoint()
        is_good = expected is not None and expected == present
        return await super().put(document, expected=None if is_good else expected, **about)


class LastWriterWins(MemoryLibrary):
    async def put(self, document: Document, *, expected: int | None = None, **about: Any) -> Document:
        kept = self._kept.get((document.kind, document.folder, document.name))
        before = len(kept.versions) if kept else 0
        if expected is None:
            await anyio.lowlevel.checkpoint()
            kept = self._kept.get((document.kind, document.folder, document.name))
            if kept is not None and len(kept.versions) > before:
                del kept.versions[before:]
                if not before:
                    del self._kept[document.kind, document.folder, document.name]
        return await super().put(document, expected=expected, **about)


class WritesAnything(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        try:
            return await super().put(document, **about)
        except ValueRefused:
            return await super().put(replace(document, body={"text": repr(document.body)}), **about)


class HalfAPut(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        if len(str(document.body)) < 100_000:
            return await super().put(document, **about)
        await super().put(replace(document, body={"text": "half"}), **about)
        await anyio.sleep(0.002)
        kept = self._kept[document.kind, document.folder, document.name]
        kept.versions.pop()
        if not kept.versions:
            del self._kept[document.kind, document.folder, document.name]
        return await super().put(document, **about)


class SwallowsCancellation(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        try:
            await anyio.sleep(0.001)
        except BaseException as error:
            raise StoreError("the connection was interrupted") from error
        return await super().put(document, **about)


class ByName(MemoryLibrary):
    async def list(self, *given: Any, **about: Any) -> Sequence[Document]:
        return sorted(await super().list(*given, **about), key=lambda one: one.name)


class FoldersByPrefix(MemoryLibrary):
    async def list(self, *given: Any, folder: str | None = None, **about: Any) -> Sequence[Document]:
        found = await super().list(*given, **about)
        return [one for one in found if folder is None or (one.kind == "block" and one.folder.startswith(folder))]


class TagsBySubstring(MemoryLibrary):
    async def list(self, *given: Any, tag: str | None = None, **about: Any) -> Sequence[Document]:
        found = await super().list(*given, **about)
        return [one for one in found if tag is None or any(tag in each for each in one.tags)]


class SearchesJson(MemoryLibrary):
    async def list(self, *given: Any, text: str | None = None, **about: Any) -> Sequence[Document]:
        found = await super().list(*given, **about)
        return [one for one in found if text is None or text.lower() in f"{one}".lower()]


class NothingHasNoVersions(MemoryLibrary):
    async def versions(self, kind: Any, name: str, *, folder: str = "") -> Sequence[Document]:
        try:
            return await super().versions(kind, name, folder=folder)
        except DocumentNotFound:
            return []


class AnyVersionWillDo(MemoryLibrary):
    async def get(self, kind: Any, name: str, *, folder: str = "", version: int | None = None) -> Document:
        known = self._kept.get((kind, folder, name))
        return await super().get(
            kind, name, folder=folder, version=version and min(version, len(known.versions)) if known else version
        )


class ForgetsUses(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        return await super().put(replace(document, uses=()), **about)


class UsesAreAnyText(MemoryLibrary):
    """No foreign key: what is not there is left out."""

    async def put(self, document: Document, **about: Any) -> Document:
        known = [use for use in document.uses if self._knows(use)]
        return await super().put(replace(document, uses=tuple(known)), **about)

    def _knows(self, use: Use) -> bool:
        kept = self._kept.get((use.kind, use.folder, use.name))
        return kept is not None and use.version <= len(kept.versions)


class FormerUsersCount(MemoryLibrary):
    def _users(self, kept: _Kept) -> Any:
        for other in self._kept.values():
            if other.deleted_at is None and any(one is kept for each in other.versions for one, _ in each.uses):
                yield other.document()


class RenamesACopy(MemoryLibrary):
    """Uses go on pointing at the old name, which nobody has any more."""

    async def rename(self, kind: Any, name: str, **about: Any) -> Document:
        kept = self._kept.get((kind, about.get("folder", ""), name))
        renamed = await super().rename(kind, name, **about)
        fresh = copy.copy(kept)
        assert fresh is not None
        self._kept[fresh.kind, fresh.folder, fresh.name] = fresh
        return renamed


class RenamesOver(MemoryLibrary):
    async def rename(self, kind: Any, name: str, *, to: str, **about: Any) -> Document:
        folder = about.get("folder", "")
        where = about.get("to_folder")
        if (kind, folder, name) in self._kept and self._kept[kind, folder, name].deleted_at is None:
            target = (kind, folder if where is None else where, to)
            if target != (kind, folder, name):
                self._kept.pop(target, None)
        return await super().rename(kind, name, to=to, **about)


class CountsAnew(MemoryLibrary):
    async def put(self, document: Document, **about: Any) -> Document:
        key = (document.kind, document.folder, document.name)
        if key in self._kept and self._kept[key].deleted_at is not None:
            del self._kept[key]
        return await super().put(document, **about)


class DeletesAnyway(MemoryLibrary):
    async def delete(self, kind: Any, name: str, *, force: bool = False, **about: Any) -> None:
        await super().delete(kind, name, force=True, **about)


class DeletedUsersCount(MemoryLibrary):
    def _users(self, kept: _Kept) -> Any:
        for other in self._kept.values():
            if other is not kept and any(one is kept for one, _ in other.versions[-1].uses):
                yield other.document()


class PurgesEverythingDeleted(MemoryLibrary):
    async def purge(self, *, before: int | None = None) -> int:
        gone = [
            key
            for key, kept in self._kept.items()
            if kept.deleted_at is not None and (before is None or kept.deleted_at < before)
        ]
        for key in gone:
            del self._kept[key]
        return len(gone)


class ClosesOnce(MemoryLibrary):
    is_closed = False

    async def aclose(self) -> None:
        if self.is_closed:
            raise StoreError("it is closed")
        self.is_closed = True


BROKEN: dict[type[MemoryLibrary], tuple[str, ...]] = {
    Incomplete: ("made",),
    ForgetsDescriptions: ("created",),
    ClockOfItsOwn: ("versions",),
    KeepsTheLatestOnly: ("versions", "deleted"),
    AddsTheSame: ("same",),
    BodyIsAll: ("same",),
    ComparesValues: ("alike",),
    LosesZeros: ("created",),
    SortsKeys: ("equal",),
    AnyLetterCase: ("keys", "listed", "folders"),
    GivesItsOwn: ("copies",),
    ExpectsNothing: ("expected", "one-wins", "deleted"),
    SaysOnlyNo: ("expected",),
    LooksThenPuts: ("one-wins",),
    LastWriterWins: ("all-land",),
    WritesAnything: ("bad-data",),
    HalfAPut: ("cancelled",),
    SwallowsCancellation: ("cancelled",),
    ByName: ("listed", "name-taken"),
    FoldersByPrefix: ("folders",),
    TagsBySubstring: ("tags",),
    SearchesJson: ("search",),
    NothingHasNoVersions: ("not-found", "purged"),
    AnyVersionWillDo: ("not-found",),
    ForgetsUses: ("uses", "users", "renamed", "in-use", "purged"),
    UsesAreAnyText: ("uses",),
    FormerUsersCount: ("users", "in-use"),
    RenamesACopy: ("renamed",),
    RenamesOver: ("name-taken",),
    CountsAnew: ("deleted",),
    DeletesAnyway: ("in-use",),
    DeletedUsersCount: ("in-use", "purged"),
    PurgesEverythingDeleted: ("purged",),
    ClosesOnce: ("closing",),
}
REOPENED = ("survives", "two-handles")


@pytest.mark.parametrize("library", BROKEN, ids=lambda library: library.__name__)
def test_a_broken_library_is_caught_by_the_rules_it_breaks(library: type[MemoryLibrary]) -> None:
    with pytest.raises(ConformanceFailed) as caught:
        check_library(library, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == BROKEN[library], str(caught.value)
    text = str(caught.value)
    for rule in _RULES:
        if rule.name in BROKEN[library]:
            assert f"broken {rule.name}: {rule.sentence}" in text
            assert f"do: {rule.remedy}" in text


def test_every_rule_is_broken_by_some_library() -> None:
    covered = {rule for rules in BROKEN.values() for rule in rules} | set(REOPENED)
    assert covered == {rule.name for rule in _RULES}


@pytest.mark.parametrize(
    ("reopen", "rules"),
    [
        (lambda library: MemoryLibrary(), REOPENED),
        (lambda library: copy.deepcopy(library), ("two-handles",)),
    ],
    ids=["it forgets everything", "two handles see different data"],
)
def test_a_library_that_does_not_last_is_caught_where_it_is_opened_again(reopen: Any, rules: tuple[str, ...]) -> None:
    with pytest.raises(ConformanceFailed) as caught:
        check_library(MemoryLibrary, reopen=reopen, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == rules


def test_a_method_that_never_ends_costs_its_limit_and_is_named() -> None:
    class Stuck(MemoryLibrary):
        async def purge(self, *, before: int | None = None) -> int:
            await anyio.sleep_forever()
            return 0

    with pytest.raises(ConformanceFailed, match=r"purge\(\) did not end within 0.2 s") as caught:
        check_library(Stuck, limit_s=0.2)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("purged",)
    assert "seen (asyncio, trio)" in str(caught.value)


def test_an_error_that_nobody_expects_names_the_method() -> None:
    class Odd(MemoryLibrary):
        async def list(self, *given: Any, **about: Any) -> Sequence[Document]:
            raise RuntimeError("no such column: tags")

    with pytest.raises(ConformanceFailed, match=r"list\(\) raised RuntimeError: no such column: tags"):
        check_library(Odd, backends=ON_ASYNCIO)


def test_a_factory_that_fails_is_told_as_what_it_is() -> None:
    def factory() -> Library:
        raise OSError("no such folder")

    with pytest.raises(ConformanceFailed, match=r"the factory raised OSError: no such folder"):
        check_library(factory, backends=ON_ASYNCIO)


def test_a_rule_may_be_waived_for_a_reason_and_only_by_its_name() -> None:
    report = check_library(ClosesOnce, waive={"closing": "a demonstration"}, backends=ON_ASYNCIO)
    assert report.skipped["closing"] == "waived: a demonstration"
    with pytest.raises(ValueError, match="waive names no rule 'one-win'; did you mean 'one-wins'"):
        check_library(MemoryLibrary, waive={"one-win": ""})


def test_lists_are_in_the_order_that_the_port_names() -> None:
    documents = [
        Document("workflow", "a", {}),
        Document("block", "b", {}),
        Document("block", "a", {}, folder="x"),
        Document("payload", "a", {}),
    ]
    assert [one.kind for one in in_order(documents)] == ["block", "block", "payload", "workflow"]
    assert [one.folder for one in in_order(documents)][:2] == ["", "x"]
