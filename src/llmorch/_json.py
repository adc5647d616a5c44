"""JSON as llmorch writes it: ASCII-escaped, keys in their order, no NaN, no fallback serializer."""

from __future__ import annotations

import hashlib
import json
import json.encoder
from typing import Any

__all__ = ["canonical", "dumps", "loads", "sha256"]

_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_ENCODE = _ENCODER.encode
_ENCODE_SORTED = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def _kept() -> Any:  # Any: json's own encoder in C, of no public type
    """What `_ENCODE` makes anew for each value, which takes as long as a small value itself; None where there is none.

    It does not look out for circles, and ends in a RecursionError on one.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # Any: as above
    if make is None:
        return None
    escape = json.encoder.encode_basestring_ascii
    return make(None, _ENCODER.default, escape, None, ":", ",", False, False, False)


_KEPT = _kept()


def dumps(value: Any) -> str:  # Any: JSON data has no narrower type that checkers follow
    """The value as compact JSON in ASCII; raises ValueError on NaN and TypeError on what is no JSON."""
    if _KEPT is not None:
        try:
            return "".join(_KEPT(value, 0))
        except RecursionError:
            pass  # the other way says whether it is a circle or only deep
    return _ENCODE(value)


def canonical(value: Any) -> bytes:  # Any: as above
    """The one byte form that is hashed: keys sorted, no spaces, ASCII."""
    return _ENCODE_SORTED(value).encode("ascii")


def sha256(value: Any) -> str:  # Any: as above
    """Hex digest of the canonical form; the same in every process and on every machine."""
    return hashlib.sha256(canonical(value)).hexdigest()


def loads(text: str | bytes) -> Any:  # Any: as above
    """JSON text as data; raises ValueError with the position."""
    return json.loads(text)
