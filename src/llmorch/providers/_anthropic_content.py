"""Parts of a message as content blocks of the Messages API.

Source: https://platform.claude.com/docs/en/build-with-claude/vision and .../pdf-support (2026-11).
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import BadRequest
from ..models.message import File, Image, Message, Text
from ._classify import Origin

__all__ = ["Block", "blocks_of", "refusal", "text_block"]

Block = dict[str, Any]  # Any: JSON data

_IMAGES = frozenset(["image/jpeg", "image/png", "image/gif", "image/webp"])
_PDF = "application/pdf"
_TEXTS = frozenset(["application/json", "application/xml", "application/yaml", "application/x-yaml"])


def text_block(text: str) -> Block:
    """Text as a block."""
    return {"type": "text", "text": text}


def blocks_of(message: Message, origin: Origin, step: str | None) -> list[Block]:
    """The content of a message; empty texts are left out, because the API refuses them.

    Raises:
        BadRequest: A part is of a kind this API does not take.
    """
    if isinstance(message.content, str):
        return [text_block(message.content)] if message.content else []
    made: list[Block] = []
    for part in message.content:
        if not isinstance(part, Text):
            made.append(_attached(part, origin, step))
        elif part.text:
            made.append(text_block(part.text))
    return made


def refusal(what: str, origin: Origin, step: str | None) -> BadRequest:
    """The error for what this API does not take; `what` goes on after "a message"."""
    of = f" of step {step!r}" if step else ""
    return BadRequest(f"a message{of} {what}", provider=origin.provider, model=origin.model, step=step)


def _attached(part: Image | File, origin: Origin, step: str | None) -> Block:
    is_inline = part.url.startswith("data:")
    try:
        kind, data = _data_in(part.url) if is_inline else ("", b"")
    except ValueError:
        raise refusal(
            f"holds a data: URL that is no base64; {origin.provider} cannot be sent it", origin, step
        ) from None
    kind = (kind or part.media_type).lower().replace("image/jpg", "image/jpeg")
    if isinstance(part, Image) or kind.startswith("image/"):
        return {"type": "image", "source": _image(part.url, kind, data if is_inline else None, origin, step)}
    if kind == _PDF:
        source = _inline(kind, data) if is_inline else {"type": "url", "url": part.url}
    elif is_inline and (kind.startswith("text/") or kind in _TEXTS):
        source = {"type": "text", "media_type": "text/plain", "data": data.decode("utf-8", "replace")}
    else:
        raise refusal(
            f"holds a File of type {kind!r}, which {origin.provider} does not take in this form; give a PDF, or text "
            "as a data: URL",
            origin,
            step,
        )
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **title}


def _image(url: str, kind: str, data: bytes | None, origin: Origin, step: str | None) -> Block:
    if data is None:
        return {"type": "url", "url": url}
    if kind not in _IMAGES:
        raise refusal(
            f"holds an Image of type {kind!r}, which {origin.provider} does not take; give JPEG, PNG, GIF or WebP",
            origin,
            step,
        )
    return _inline(kind, data)


def _inline(kind: str, data: bytes) -> Block:
    return {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode("ascii")}


def _data_in(url: str) -> tuple[str, bytes]:
    """The media type, empty when it is not told, and the bytes of a `data:` address."""
    head, _, body = url.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    raw = unquote_to_bytes(body)
    if "base64" not in parameters:
        return kind, raw
    raw = b"".join(raw.split()).rstrip(b"=")
    return kind, base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_" if b"-" in raw or b"_" in raw else None)
