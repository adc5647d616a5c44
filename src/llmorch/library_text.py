"""Documents with all their versions as YAML or JSON text, and back.

```yaml
llmorch_library: 1
documents:
- kind: block
  name: voice
  folder: Phase 1/Tone          # blocks only; left out: none
  deleted_at: "2026-03-01T..."  # left out: it is not deleted
  versions:                     # oldest first, from version 1
  - at: "2026-02-01T09:30:00.000000Z"
    tags: [style]
    description: How we sound.
    uses:
    - {kind: block, name: rules, version: 2, folder: Phase 1}
    body: {llmorch: 1, text: Be brief., role: system}
```

Reading runs nothing and imports nothing: see `library_forms.faults_of`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, cast

from ._clock import from_us
from .definition.document_read import Reader
from .documents import KINDS, Document, DocumentInvalid, Kind, Use, encode, label
from .errors import ValueRefused
from .library_forms import faults_of
from .models.values import Data

__all__ = ["MAX_BYTES", "MAX_VERSIONS", "History", "read", "write"]

FORMAT: Final = 1
MAX_BYTES: Final = 16 << 20
MAX_VERSIONS: Final = 20_000
History = tuple[Document, ...]
"""Every version of a document, oldest first."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 1 << 62
_MOST_FAULTS: Final = 50
_ENTRY: Final = ("kind", "name", "folder", "deleted_at", "versions")
_VERSION: Final = ("at", "tags", "description", "uses", "body")
_USE: Final = ("kind", "name", "version", "folder")


def write(histories: Iterable[Sequence[Document]], *, format: Literal["yaml", "json"]) -> str:
    """The documents as text.

    Raises:
        DocumentInvalid: A body is nested too deep for YAML.
    """
    written: dict[str, Data] = {
        "llmorch_library": FORMAT,
        "documents": [_entry_to(history) for history in histories],
    }
    if format == "json":
        return json.dumps(written, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    from ._yaml import dumps

    try:
        return dumps(written)
    except ValueError as error:
        raise DocumentInvalid(f"The documents cannot be written as YAML ({error}); write them as JSON") from error


def _entry_to(history: Sequence[Document]) -> dict[str, Data]:
    last = history[-1]
    written: dict[str, Data] = {"kind": last.kind, "name": last.name}
    if last.folder:
        written["folder"] = last.folder
    if last.deleted_at is not None:
        written["deleted_at"] = _moment_to(last.deleted_at)
    written["versions"] = [_version_to(one) for one in history]
    return written


def _version_to(document: Document) -> dict[str, Data]:
    written: dict[str, Data] = {"at": _moment_to(document.updated_at)}
    if document.tags:
        written["tags"] = list(document.tags)
    if document.description:
        written["description"] = document.description
    if document.uses:
        written["uses"] = [
            {
                "kind": use.kind,
                "name": use.name,
                "version": use.version,
                **({"folder": use.folder} if use.folder else {}),
            }
            for use in document.uses
        ]
    written["body"] = dict(document.body)
    return written


def _moment_to(us: int) -> str:
    return from_us(us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read(text: str, *, max_bytes: int, max_versions: int) -> list[History]:
    """The documents of a text, each with its versions numbered from 1; none without a fault.

    Raises:
        DocumentInvalid: It is too long, no YAML or JSON, or has faults; all of them are listed with their place.
    """
    data = _data(text, max_bytes)
    reader = Reader({})
    fields = reader.mapping(data, "the text", known=("llmorch_library", "documents"), required=("llmorch_library",))
    form = (fields or {}).get("llmorch_library")
    if fields is not None and (isinstance(form, bool) or form != FORMAT):
        reader.fault("llmorch_library", f"is {form!r}, and this version reads format {FORMAT}")
    if fields is None or reader.faults:
        raise DocumentInvalid(faults=reader.faults)
    entries = reader.sequence(fields.get("documents", []), "documents")
    count = sum(len(entry["versions"]) for entry in entries if _has_versions(entry))
    if count > max_versions:
        raise DocumentInvalid(f"The text has {count} versions; at most {max_versions} are read (raise max_versions=)")
    found = [_entry_from(reader, entry, f"documents[{at}]") for at, entry in enumerate(entries)]
    histories = [history for history in found if history is not None]
    _check_names(reader, found)
    if reader.faults:
        more = len(reader.faults) - _MOST_FAULTS
        rest = [f"and {more} more"] if more > 0 else []
        raise DocumentInvalid(faults=[*reader.faults[:_MOST_FAULTS], *rest])
    return histories


def _has_versions(entry: Data) -> bool:
    return isinstance(entry, dict) and isinstance(cast("dict[str, Data]", entry).get("versions"), list)


def _data(text: str, max_bytes: int) -> Data:
    if len(text) > max_bytes or len(text.encode("utf-8", "replace")) > max_bytes:
        raise DocumentInvalid(f"The text is longer than {max_bytes} bytes; split it, or raise max_bytes=")
    try:
        if text.lstrip("\ufeff \t\r\n").startswith("{"):
            return json.loads(text.lstrip("\ufeff"), object_pairs_hook=_unique, parse_constant=_no_constant)
        from ._yaml import loads

        return loads(text, source="the text", max_bytes=max_bytes)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentInvalid(f"The text is no JSON: {place}: {error.msg}") from error
    except RecursionError as error:
        raise DocumentInvalid("The text is nested too deep; flatten it") from error
    except ValueError as error:
        raise DocumentInvalid(f"The text cannot be read: {error}") from error


def _unique(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
    fields: dict[str, Data] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {key!r} is there twice; keep one of them")
        fields[key] = value
    return fields


def _no_constant(name: str) -> Data:
    raise ValueError(f"{name} is no finite number; put it in quotes to make it text")


def _entry_from(reader: Reader, given: Data, at: str) -> History | None:
    fields = reader.mapping(given, at, known=_ENTRY, required=("kind", "name", "versions"))
    if fields is None:
        return None
    before = len(reader.faults)
    kind, name = _kind(reader, fields["kind"], f"{at}.kind"), reader.text(fields["name"], f"{at}.name")
    folder = reader.text(fields.get("folder", ""), f"{at}.folder")
    deleted_at = _moment_from(reader, fields["deleted_at"], f"{at}.deleted_at") if "deleted_at" in fields else None
    versions = reader.sequence(fields["versions"], f"{at}.versions")
    if not versions and len(reader.faults) == before:
        reader.fault(f"{at}.versions", "there is none; a document has one or more")
    if len(reader.faults) > before:
        return None
    try:
        like = Document(kind, name, {}, folder=folder, deleted_at=deleted_at)
    except DocumentInvalid as error:
        reader.fault(at, error.message)
        return None
    spot = f"{at} ({kind} {name!r}).versions"
    found = [_version_from(reader, one, f"{spot}[{place}]", like) for place, one in enumerate(versions)]
    made = tuple(replace(one, version=number) for number, one in enumerate(found, 1) if one is not None)
    return made if len(made) == len(found) else None


def _version_from(reader: Reader, given: Data, at: str, like: Document) -> Document | None:
    before = len(reader.faults)
    fields = reader.mapping(given, at, known=_VERSION, required=("body",))
    body = reader.mapping((fields or {}).get("body", {}), f"{at}.body")
    if fields is None or body is None:
        return None
    tags = tuple(reader.text(tag, f"{at}.tags") for tag in reader.sequence(fields.get("tags", []), f"{at}.tags"))
    description = reader.text(fields.get("description", ""), f"{at}.description")
    moment = _moment_from(reader, fields["at"], f"{at}.at") if "at" in fields else 0
    uses = reader.sequence(fields.get("uses", []), f"{at}.uses")
    used = [_use_from(reader, use, f"{at}.uses[{place}]") for place, use in enumerate(uses)]
    if len(reader.faults) > before:
        return None
    try:
        document = replace(like, body=body, tags=tags, description=description, updated_at=moment)
        encode(document)
    except (DocumentInvalid, ValueRefused) as error:
        reader.fault(at, error.message)
        return None
    for fault in faults_of(document, f"{at}.body"):
        reader.fault("", fault)
    return replace(document, uses=tuple(use for use in used if use is not None))


def _kind(reader: Reader, given: Data, at: str) -> Kind:
    for kind in KINDS:
        if given == kind:
            return kind
    reader.fault(at, f"{given!r} is none; there are {', '.join(KINDS)}")
    return "block"


def _use_from(reader: Reader, given: Data, at: str) -> Use | None:
    fields = reader.mapping(given, at, known=_USE, required=("kind", "name", "version"))
    if fields is None:
        return None
    version = reader.integer(fields["version"], f"{at}.version")
    if version is None or version < 1:
        reader.fault(f"{at}.version", "versions count from 1")
        return None
    kind, name = _kind(reader, fields["kind"], f"{at}.kind"), reader.text(fields["name"], f"{at}.name")
    return Use(kind, name, version=version, folder=reader.text(fields.get("folder", ""), f"{at}.folder"))


def _moment_from(reader: Reader, given: Data, at: str) -> int:
    try:
        moment = datetime.fromisoformat(reader.text(given, at) or "1970-01-01T00:00:00Z")
        if moment.tzinfo is None:
            raise ValueError("it has no time zone; put a Z at its end")
        us = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        reader.fault(at, f"{given!r} is no moment such as '2026-02-01T09:30:00Z' ({error})")
        return 0
    if not 0 <= us < _LATEST:
        reader.fault(at, f"{given!r} is before 1970")
    return us


def _check_names(reader: Reader, found: Sequence[History | None]) -> None:
    places: dict[tuple[str, str, str], int] = {}
    for at, history in enumerate(found):
        if history is None:
            continue
        last = history[-1]
        first = places.setdefault((last.kind, last.folder, last.name), at)
        if first != at:
            what = label(last.kind, last.name, folder=last.folder)
            reader.fault(f"documents[{at}]", f"{what} is there twice, the first time as documents[{first}]")
