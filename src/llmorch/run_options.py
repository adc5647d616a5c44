"""How a run is to be carried out, and what an orchestrator's options come to; checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ._clock import seconds
from .answers import OnAsk, checked_on_ask
from .models.policy import Budget
from .models.values import Data, to_data
from .ports import ResponseCache
from .stores.memory_cache import MemoryCache

__all__ = ["Caching", "RunOptions", "caching", "checked_budget"]

_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Checked:
    """The options of one run as they are to be kept to; those of `RunOptions`, with the timeout in seconds.

    Attributes:
        used: What was set, by name; an input of the same name may have been meant.
    """

    budget: Budget | None = None
    timeout_s: float | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Data] = field(default_factory=dict[str, Any])
    key: str | None = None
    on_ask: OnAsk | None = None
    used: Mapping[str, object] = field(default_factory=dict[str, object])


_USUAL = Checked()


@dataclass(slots=True)
class RunOptions:
    """The options of one run as its caller gave them.

    Attributes:
        budget: What it may spend; None: what the orchestrator says.
        timeout: Seconds it may take.
        tags: Words to find it by.
        metadata: Data noted on it.
        idempotency_key: Whoever uses it again gets the same run.
        on_ask: Answers its questions at once.
    """

    budget: Budget | None = None
    timeout: float | timedelta | None = None
    tags: Iterable[str] = ()
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    on_ask: OnAsk | None = None

    def checked(self) -> Checked:
        """What they come to.

        Raises:
            TypeError: One is of the wrong type.
            ValueError: The timeout leaves no time, the key identifies nothing, or the metadata are no data.
        """
        if self == _UNSET:
            return _USUAL
        used = {
            "budget": self.budget,
            "timeout": self.timeout,
            "tags": self.tags or None,
            "metadata": self.metadata,
            "idempotency_key": self.idempotency_key,
            "on_ask": self.on_ask,
        }
        return Checked(
            checked_budget(self.budget),
            self._timeout_s(),
            self._tags(),
            to_data(self.metadata, where="metadata") if self.metadata else {},
            self._key(),
            checked_on_ask(self.on_ask),
            {name: value for name, value in used.items() if value is not None},
        )

    def _key(self) -> str | None:
        key = self.idempotency_key
        if key is None:
            return None
        if not isinstance(key, str):
            raise TypeError(f"idempotency_key= takes a text, such as the id of a request, not {key!r}")
        if not key.strip() or len(key) > _LONGEST_KEY or not key.isprintable():
            raise ValueError(
                f"idempotency_key= takes 1 to {_LONGEST_KEY} printable characters, not {key[:40]!r} "
                f"({len(key)} characters)"
            )
        return key

    def _timeout_s(self) -> float | None:
        timeout = self.timeout
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float | timedelta)):
            raise TypeError(f"timeout= takes seconds or a timedelta, not {timeout!r}")
        limit_s = seconds(timeout)
        if limit_s is not None and not limit_s > 0:  # not NaN either
            raise ValueError(f"timeout={limit_s:g} leaves no time; leave it out for no limit")
        return limit_s

    def _tags(self) -> tuple[str, ...]:
        if isinstance(self.tags, str):
            raise TypeError(f"tags takes several: write [{self.tags!r}]")
        tags = tuple(self.tags)
        if not all(isinstance(tag, str) for tag in tags):
            raise TypeError(f"tags are words, not {tags!r}")
        return tags


_UNSET = RunOptions()


def checked_budget(budget: Budget | None) -> Budget | None:
    """The budget.

    Raises:
        TypeError: It is something else.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget= takes a Budget, such as Budget(usd=5), not {budget!r}")
    return budget


@dataclass(frozen=True, slots=True)
class Caching:
    """What `Orchestrator(cache=...)` comes to.

    Attributes:
        cache: Keeps answers.
        is_default: Payloads that do not say otherwise are cached.
        ttl_s: How long their answers are kept; None is for good.
    """

    cache: ResponseCache
    is_default: bool
    ttl_s: float | None = None


def caching(given: bool | float | timedelta | ResponseCache | None) -> Caching:
    """What the option means.

    Raises:
        TypeError: It is no cache and no span of time.
        ValueError: It is no time at all.
    """
    if given is None or given is False:
        return Caching(MemoryCache(), is_default=False)
    if given is True:
        return Caching(MemoryCache(), is_default=True)
    if isinstance(given, int | float | timedelta):
        ttl_s = seconds(given)
        if ttl_s is None or not ttl_s > 0:
            raise ValueError(f"cache={given} keeps nothing; give seconds above 0, True for good, or leave it out")
        return Caching(MemoryCache(), is_default=True, ttl_s=ttl_s)
    if not (hasattr(given, "get") and hasattr(given, "put")):
        raise TypeError(f"cache= takes True, seconds, a timedelta or a ResponseCache with get and put, not {given!r}")
    return Caching(given, is_default=True)
