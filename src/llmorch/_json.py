"""JSON as llmorch writes it: ASCII-escaped, keys in their order, no NaN, no fallback serializer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["canonical", "dumps", "loads", "sha256"]

_ENCODE = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_ENCODE_SORTED = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


def dumps(value: Any) -> str:  # Any: JSON data has no narrower type that checkers follow
    """The value as compact JSON in ASCII; raises ValueError on NaN and TypeError on what is no JSON."""
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
