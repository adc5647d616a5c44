"""What one payload asks of the response cache, and what it leaves there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...policies.cache import Slots, fingerprint_of, keep, key_of, recall
from ...ports import ProviderRequest, ProviderResponse, ResponseCache

if TYPE_CHECKING:
    from ..errand import Errand
    from ..onion import Send
    from ..state.run import RunState

__all__ = ["Memory"]


class Memory:
    """The cache as one payload sees it. An answer is kept once the payload's output check has taken it.

    Attributes:
        was_hit: The last answer came from the cache.
    """

    __slots__ = ("_cache", "_key", "_path", "_slots", "_ttl_s", "was_hit")

    def __init__(self, cache: ResponseCache, ttl_s: float | None, *, slots: Slots, path: str) -> None:
        self._cache = cache
        self._ttl_s = ttl_s
        self._slots = slots
        self._path = path
        self._key: str | None = None
        self.was_hit = False

    @classmethod
    def of(cls, errand: Errand, path: str, *, run: RunState) -> Memory:
        """The memory of a payload that is cached."""
        cache = errand.services.cache
        assert cache is not None, "nothing is cached without a cache"
        if run.slots is None:
            run.slots = Slots()
        return cls(cache, errand.ttl_s, slots=run.slots, path=path)

    async def answered(self, send: Send, model: str, request: ProviderRequest) -> ProviderResponse:
        """The answer from the cache, else the one that is sent for."""
        asked = fingerprint_of(request, model)
        key = self._key = key_of(asked, self._slots.next(asked, step=self._path))
        known = await recall(self._cache, key)
        self.was_hit = known is not None
        return known if known is not None else await send(request)

    async def keep(self, response: ProviderResponse) -> None:
        """Keep an answer that was sent for and taken."""
        if self._key is not None and not self.was_hit:
            await keep(self._cache, self._key, response=response, ttl_s=self._ttl_s)
