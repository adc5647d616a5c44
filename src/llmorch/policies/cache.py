"""Answers kept by what was asked, so that the same question is paid for once.

An answer is kept only after the caller's check accepted it, so looking up and keeping are two functions. A cache never
fails a call: an entry that is none is a miss, and so is an error or a wait of more than 10 s, which is logged.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import cast
from weakref import WeakSet

import anyio

from .._json import dumps, loads
from .._redact import redact
from ..definition.fingerprint import payload_fingerprint
from ..models.usage import Usage
from ..models.values import Data
from ..ports import ResponseCache
from ..requests import ProviderRequest, ProviderResponse

__all__ = ["Slots", "fingerprint_of", "keep", "key_of", "recall"]

_FORMAT = 1
_KEPT_ENDINGS = frozenset({"stop", "other"})  # an answer that was cut, filtered or calls a tool is none to repeat
_PATIENCE_S = 10.0
_log = logging.getLogger("llmorch")
_blamed: WeakSet[ResponseCache] = WeakSet()


def fingerprint_of(request: ProviderRequest, model_id: str) -> str:
    """Hash of everything in the request that determines its answer.

    Args:
        model_id: The whole `provider:model`, as the same model name means different things to different providers.
    """
    return payload_fingerprint(
        request.messages,
        model_id,
        settings=request.settings,
        extra=request.extra,
        output_schema=request.output_schema,
        tools=request.tools,
    )


def key_of(fingerprint: str, slot: int) -> str:
    """The key of the answer to a request's n-th equal one in a run, counted from 0."""
    return f"{fingerprint}-{slot}"


class Slots:
    """Numbers the equal requests of a run, so that repeated samples stay different.

    Example:
        >>> slots = Slots()
        >>> slots.next("a", step="first"), slots.next("a", step="second"), slots.next("b", step="second")
        (0, 1, 0)
        >>> slots.next("a", step="first")  # a retry
        0
    """

    __slots__ = ("_asked", "_steps")

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._steps: dict[tuple[str, str], int] = {}

    def next(self, fingerprint: str, *, step: str | None = None) -> int:
        """The slot of one more request of that fingerprint.

        Args:
            step: Who asks. A step that asks the same again tries again, and keeps its slot.
        """
        if step is not None and (slot := self._steps.get((fingerprint, step))) is not None:
            return slot
        slot = self._asked.get(fingerprint, 0)
        self._asked[fingerprint] = slot + 1
        if step is not None:
            self._steps[fingerprint, step] = slot
        return slot


async def recall(cache: ResponseCache, key: str) -> ProviderResponse | None:
    """The answer kept under the key, or None.

    It costs nothing: its usage is empty, and what it once used stands in `raw["cached_usage"]`.
    """
    try:
        with anyio.move_on_after(_PATIENCE_S):
            entry = await cache.get(key)
            return None if entry is None else _read(entry, key)
        raise TimeoutError(f"no answer within {_PATIENCE_S:g} s")
    except Exception as error:  # somebody's cache may raise anything; a miss is always a right answer
        _blame(cache, "gave no answer", error)
        return None


async def keep(cache: ResponseCache, key: str, *, response: ProviderResponse, ttl_s: float | None = None) -> None:
    """Put an accepted answer into the cache, if it is one to repeat: whole, with text and without tool calls.

    Args:
        ttl_s: Seconds it may be recalled; None is for good.
    """
    if response.tool_calls or response.finish_reason not in _KEPT_ENDINGS or not response.text.strip():
        return
    try:
        entry = _written(response, key)
        with anyio.move_on_after(_PATIENCE_S):
            await cache.put(key, entry, ttl_s=ttl_s)
            return
        raise TimeoutError(f"not done within {_PATIENCE_S:g} s")
    except Exception as error:  # the answer is paid for: nothing that happens here may lose it
        _blame(cache, "kept no answer", error)


def _written(response: ProviderResponse, key: str) -> bytes:
    usage = None if response.usage is None else asdict(response.usage)
    return dumps(
        {
            "format": _FORMAT,
            "key": key,
            "text": response.text,
            "finish_reason": response.finish_reason,
            "model": response.model,
            "usage": usage,
        }
    ).encode("ascii")


def _read(entry: object, key: str) -> ProviderResponse | None:
    """The answer of an entry; None when it is none of this format and key."""
    try:
        found: object = loads(bytes(entry)) if isinstance(entry, bytes | bytearray) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    body = cast("dict[str, object]", found)
    text, model, ending = body.get("text"), body.get("model"), body.get("finish_reason")
    if body.get("format") != _FORMAT or body.get("key") != key:
        return None
    if not isinstance(text, str) or not text.strip() or not isinstance(model, str):
        return None
    if not isinstance(ending, str) or ending not in _KEPT_ENDINGS:
        return None
    used = body.get("usage")
    kept = cast("dict[str, Data]", used) if isinstance(used, dict) else None
    return ProviderResponse(text, usage=Usage(), finish_reason=ending, model=model, raw={"cached_usage": kept})


def _blame(cache: ResponseCache, what: str, error: Exception) -> None:
    """Log it, once for each cache: one that is down would fill the log."""
    try:
        if cache in _blamed:
            return
        _blamed.add(cache)
    except TypeError:
        pass  # a cache that cannot be remembered is logged each time
    text = redact(f"{type(error).__name__}: {error}")
    _log.warning("cache %s %s (%s); calls go on without it", type(cache).__name__, what, text)
