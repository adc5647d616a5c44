"""JSON as llmorch writes it: ASCII-escaped, keys in their order, no NaN, no fallback serializer."""

from __future__ import annotations

import hashlib
import json
import json.encoder
from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["canonical", "canonical_members", "dumps", "loads", "quoted", "sha256"]

_escape = json.encoder.encode_basestring_ascii
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_SORTED = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _kept(encoder: json.JSONEncoder) -> Any:  # Any: json's own encoder in C, of no public type
    """What `encode` makes anew for each value, which takes as long as a small value itself; None where there is none.

    It does not look out for circles, and ends in a RecursionError on one.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # Any: as above
    if make is None:
        return None
    return make(None, encoder.default, _escape, None, ":", ",", encoder.sort_keys, False, False)


_KEPT, _KEPT_SORTED = _kept(_ENCODER), _kept(_SORTED)
_LONG, _TOO_LONG = 256, 1 << 16  # characters of a text that is worth keeping
_last = ("", '""')


def quoted(value: str) -> str:
    """The text in quotes, as `dumps` writes it; the last long one is kept.

    What a step gave is wanted twice in a row: in the fingerprint of the next step, and in the log.
    """
    global _last
    if not _LONG < len(value) < _TOO_LONG:
        return _escape(value)
    last = _last  # another thread may change it
    if last[0] is not value:
        last = _last = (value, _long_quoted(value))
    return last[1]


def _long_quoted(value: str) -> str:
    """pydantic's writer takes half as long as json's; it writes ASCII the same, but for DEL."""
    if not value.isascii() or "\x7f" in value:
        return _escape(value)
    written: bytes = _pydantic_core().to_json(value)
    return written.decode("ascii")


@cache
def _pydantic_core() -> Any:  # Any: the module
    """Loaded for the first long text: a script that is a process of its own begins without it."""
    import pydantic_core

    return pydantic_core


def dumps(value: Any) -> str:  # Any: JSON data has no narrower type that checkers follow
    """The value as compact JSON in ASCII; raises ValueError on NaN and TypeError on what is no JSON."""
    return _written(value, _ENCODER, _KEPT)


def canonical(value: Any) -> bytes:  # Any: as above
    """The one byte form that is hashed: keys sorted, no spaces, ASCII."""
    return _written(value, _SORTED, _KEPT_SORTED).encode("ascii")


def canonical_members(members: Mapping[str, Any]) -> str:  # Any: as above
    """`canonical` of an object as text; the last of its texts may have been written just now."""
    written = [
        f"{quoted(name)}:{quoted(value) if value.__class__ is str else _written(value, _SORTED, _KEPT_SORTED)}"
        for name, value in sorted(members.items())
    ]
    return f"{{{','.join(written)}}}"


def _written(value: Any, encoder: json.JSONEncoder, kept: Any) -> str:  # Any: as above
    if kept is not None:
        try:
            return "".join(kept(value, 0))
        except RecursionError:
            pass  # the other way says whether it is a circle or only deep
    return encoder.encode(value)


def sha256(value: Any) -> str:  # Any: as above
    """Hex digest of the canonical form; the same in every process and on every machine."""
    return hashlib.sha256(canonical(value)).hexdigest()


def loads(text: str | bytes) -> Any:  # Any: as above
    """JSON text as data; raises ValueError with the position."""
    return json.loads(text)
