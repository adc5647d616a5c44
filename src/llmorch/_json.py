"""JSON as llmorch writes it: ASCII-escaped, keys in their order, no NaN, no fallback serializer."""

from __future__ import annotations

import hashlib
import json
import json.encoder
from typing import Any

__all__ = ["canonical", "dumps", "loads", "sha256"]

_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_SORTED = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _kept(encoder: json.JSONEncoder) -> Any:  # Any: json's own encoder in C, of no public type
    """What `encode` makes anew for each value, which takes as long as a small value itself; None where there is none.

    It does not look out for circles, and ends in a RecursionError on one.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # Any: as above
    if make is None:
        return None
    escape = json.encoder.encode_basestring_ascii
    return make(None, encoder.default, escape, None, ":", ",", encoder.sort_keys, False, False)


_KEPT, _KEPT_SORTED = _kept(_ENCODER), _kept(_SORTED)


def dumps(value: Any) -> str:  # Any: JSON data has no narrower type that checkers follow
    """The value as compact JSON in ASCII; raises ValueError on NaN and TypeError on what is no JSON."""
    return _text(value, _ENCODER, _KEPT)


def canonical(value: Any) -> bytes:  # Any: as above
    """The one byte form that is hashed: keys sorted, no spaces, ASCII."""
    return _text(value, _SORTED, _KEPT_SORTED).encode("ascii")


def _text(value: Any, encoder: json.JSONEncoder, kept: Any) -> str:  # Any: as above
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
