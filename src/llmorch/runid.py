"""Run ids: 26 characters of lower-case base32 that sort by time and are never used twice."""

from __future__ import annotations

import os

from ._clock import now_us

__all__ = ["new_run_id"]

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]  # two digits at a time: base64 takes four times as long
_SHIFTS = range(120, -1, -10)
_last = 0


def new_run_id() -> str:
    """48 bits of milliseconds and 80 random bits."""
    global _last
    number = ((now_us() // 1000) & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    if number >> 80 <= _last >> 80:
        number = _last + 1  # the same millisecond, or a clock set back: ids of a process stay in order
    _last = number
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
