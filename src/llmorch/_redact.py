"""Takes secrets out of text: those in use, as they are or encoded, and what looks like one.

Servers and proxies that complain quote the request they complain about: as it came, as base64, or escaped for a URL,
JSON or HTML. Each of these forms is looked for. It is done for the texts of errors and log lines only.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

__all__ = ["redact", "register"]

_MASK = "[redacted]"
_MARKS = ("sk-", "xai-", "gsk_", "AIza", "earer ")
_LOOKS_LIKE_A_KEY = re.compile(
    r"(?:(?<![A-Za-z])sk-|sk-(?=(?:ant|proj|or-v1|svcacct)-|[A-Za-z0-9]{20})|xai-|gsk_|AIza)[A-Za-z0-9_\-*]{8,}"
    r"|(?<=[Bb]earer )(?=[A-Za-z._~+/\-]*[0-9])[A-Za-z0-9._~+/\-]{8,}=*"
)
_MIN_SECRET = 4
_MIN_ENCODED = 8  # what is shorter has too short a core in base64 to be told from other text
_MIN_CUT = 6
_MOST_PASSING = 200
_PLACEHOLDERS = frozenset(("none", "empty", "ollama", "dummy", "test", "no-key", "lm-studio", "not-needed", "example"))
_UNCHANGED = re.compile(r"[A-Za-z0-9_.~-]+")  # what neither URL, JSON nor HTML escapes


class _Form(NamedTuple):
    """One way a secret is written; `glance` is a part that no escape changes, `shape` all that it may look like."""

    text: str
    glance: str
    shape: str | None


class _Known:
    """The secrets in use, and how each may be written, which is worked out when a text is first looked through."""

    def __init__(self) -> None:
        self.lasting: dict[str, None] = {}
        self.passing: dict[str, None] = {}
        self._forms: list[_Form] | None = None

    def add(self, secret: str, *, passing: bool) -> None:
        if secret in self.lasting or (passing and secret in self.passing):
            return
        if passing:
            while len(self.passing) >= _MOST_PASSING:
                self.passing.pop(next(iter(self.passing)), None)
        (self.passing if passing else self.lasting)[secret] = None
        self._forms = None

    def forms(self) -> list[_Form]:
        """Those of long secrets first: one secret may be the beginning of another."""
        found = self._forms
        if found is None:
            secrets = sorted({*self.lasting, *self.passing}, key=len, reverse=True)
            found = self._forms = [form for secret in secrets for form in _forms(secret)]
        return found


_known = _Known()


def register(secret: str, *, passing: bool = False) -> None:
    """Remember a secret in use, so that no text that passes `redact` shows it.

    Fewer than four characters, and words that stand for no key at all (`none`, `ollama`), are not kept out of texts.

    Args:
        passing: One of many, such as a token made for one call; the last 200 of them are remembered.
    """
    if len(secret) >= _MIN_SECRET and secret.lower() not in _PLACEHOLDERS:
        _known.add(secret, passing=passing)


def redact(text: str) -> str:
    """The text without known secrets in any of their forms, and without what looks like a key."""
    for form, glance, shape in _known.forms():
        if glance in text:
            text = text.replace(form, _MASK) if shape is None else _compiled(shape).sub(_MASK, text)
        text = _without_cut(text, form)
    return _LOOKS_LIKE_A_KEY.sub(_MASK, text) if any(mark in text for mark in _MARKS) else text


def _without_cut(text: str, form: str) -> str:
    """The text without the beginning of a secret at its end: texts may be cut before they come here."""
    at = text.find(form[:_MIN_CUT], max(0, len(text) - len(form)))
    return text[:at] + _MASK if at >= 0 and form.startswith(text[at:]) else text


@lru_cache(1024)
def _forms(secret: str) -> tuple[_Form, ...]:
    return tuple(_form(text) for text in _texts(secret))


def _texts(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) >= _MIN_ENCODED:
        yield from _cores(secret.encode("utf-8", "surrogatepass"))


def _cores(secret: bytes) -> Iterator[str]:
    """What base64 makes of it wherever it begins in the encoded text, without what its neighbours take part in."""
    for offset in range(3):
        encoded = binascii.b2a_base64(bytes(offset) + secret, newline=False).decode("ascii")
        most = (offset + len(secret)) * 8 // 6
        core = encoded[-(-offset * 8 // 6) : most]
        yield core
        if "+" in core or "/" in core:
            yield core.replace("+", "-").replace("/", "_")


def _form(text: str) -> _Form:
    runs = _UNCHANGED.findall(text)
    if runs == [text]:
        return _Form(text, text, None)
    return _Form(text, max(runs, key=len, default=""), "".join(map(_spellings, text)))


_compiled = lru_cache(256)(re.compile)


def _spellings(character: str) -> str:
    """A pattern for a character as it is, and as URLs, JSON, HTML and Python's repr write it, once or twice over."""
    if _UNCHANGED.fullmatch(character):
        return re.escape(character)
    in_url = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    number = ord(character)
    ways = [
        rf"\\*{re.escape(character)}",
        in_url,
        rf"\\+(?:u00|x){number:02x}",
        f"&(?:amp;)*#(?:0*{number}|x0*{number:x});",
    ]
    named = html.escape(character)
    if named != character:
        ways.insert(0, f"&(?:amp;)*{named[1:]}")
    return f"(?i:{'|'.join(ways)})"
