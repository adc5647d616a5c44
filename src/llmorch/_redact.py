"""Takes secrets out of text: those in use, and what looks like one."""

from __future__ import annotations

import re

__all__ = ["redact", "register"]

_MASK = "[redacted]"
_LOOKS_LIKE_A_KEY = re.compile(
    r"(?:sk-(?:ant-|proj-|or-)?|xai-|gsk_|AIza)[A-Za-z0-9_\-*]{8,}|(?<=Bearer )[A-Za-z0-9._~+/\-]{8,}=*"
)
_MIN_SECRET = 4

_known: set[str] = set()


def register(secret: str) -> None:
    """Remember a secret in use, so that no text that passes `redact` shows it."""
    if len(secret) >= _MIN_SECRET:
        _known.add(secret)


def redact(text: str) -> str:
    """The text without known secrets and without what looks like a key."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, _MASK)
    return _LOOKS_LIKE_A_KEY.sub(_MASK, text)
