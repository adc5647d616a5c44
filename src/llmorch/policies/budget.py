"""A budget as a ledger of reservations: what a call may cost at most is set aside before it is sent.

The ledger is read from the log alone: `CallStarted` reserves, `CallFinished` settles, and a call whose end nobody knows
keeps its reservation as spent. So a run that is taken up again knows what it may still spend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import anyio

from ..models.policy import Budget
from ..pricing import Price, cost
from ..requests import ProviderRequest
from .tokens import prompt_tokens

__all__ = ["Ledger", "Reservation", "estimate", "reservation"]

_USUAL_BOUND = 8_192
"""Tokens an answer is bounded to when neither the payload nor the model's own limit says less."""

_LEAST_BOUND = 16
"""Tokens below which an answer is not worth its prompt."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call takes at most; `usd` is None when the model's price is unknown."""

    tokens: int
    usd: Decimal | None


class Ledger:
    """What a run has spent and set aside.

    Attributes:
        calls: Calls sent, whatever became of them.
        tokens: Tokens spent.
        usd: US dollars spent.
    """

    __slots__ = (
        "_changed", "_limit_usd", "_line", "_lost", "_open", "_open_tokens", "_open_usd", "budget", "calls", "tokens",
        "usd",
    )  # fmt: skip

    def __init__(self, budget: Budget) -> None:
        self.calls = 0
        self.tokens = 0
        self.usd = Decimal(0)
        self._open: dict[tuple[str, int], Reservation] = {}
        self._lost: dict[tuple[str, int], Reservation] = {}
        self._open_tokens = 0
        self._open_usd = Decimal(0)
        self._line: anyio.Lock | None = None
        self._changed: anyio.Event | None = None
        self.budget = budget
        self._limit_usd = None if budget.usd is None else Decimal(str(budget.usd))

    @property
    def is_open(self) -> bool:
        """Whether a call is on its way whose bill is not known yet."""
        return bool(self._open)

    def start(self, call: tuple[str, int], reserved: Reservation) -> None:
        """A call is sent, known by its step's path and its number."""
        self.calls += 1
        self._open[call] = reserved
        self._open_tokens += reserved.tokens
        self._open_usd += reserved.usd or 0

    def settle(self, call: tuple[str, int], bill: Reservation) -> None:
        """A call ended and this is its bill: nothing, for one that was refused."""
        lost = self._lost.pop(call, None)
        if lost is None:
            self._end(call, bill)
        else:  # the bill came after all
            self._spend(bill.tokens - lost.tokens, (bill.usd or 0) - (lost.usd or 0))

    def give_up(self, call: tuple[str, int]) -> None:
        """A call ended and nobody knows what it cost: what was set aside counts as spent, until its bill comes."""
        if call in self._open:
            self._lost[call] = self._open[call]
            self._end(call, self._open[call])

    def miss(self, call: tuple[str, int]) -> None:
        """A call ended before this ledger began, and nothing was set aside for it; its bill may still come."""
        self._lost[call] = Reservation(0, Decimal(0))

    def renewed(self, budget: Budget) -> Ledger:
        """The same spendings under another budget."""
        ledger = Ledger(budget)
        ledger.calls, ledger.tokens, ledger.usd = self.calls, self.tokens, self.usd
        ledger._lost = self._lost
        return ledger

    def _end(self, call: tuple[str, int], bill: Reservation) -> None:
        reserved = self._open.pop(call, None)
        if reserved is None:
            return
        self._open_tokens -= reserved.tokens
        self._open_usd -= reserved.usd or 0
        self._spend(bill.tokens, bill.usd or 0)

    def _spend(self, tokens: int, usd: Decimal | int) -> None:
        self.tokens += tokens
        self.usd += usd
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    @property
    def line(self) -> anyio.Lock:
        """Who holds it is the first to take what comes free; the others wait for it in the order they came."""
        if self._line is None:
            self._line = anyio.Lock(fast_acquire=True)
        return self._line

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for money or tokens to come free."""
        return self._line is not None and self._line.locked()

    async def change(self) -> None:
        """Return when a call has ended; for who holds the line."""
        self._changed = anyio.Event()
        await self._changed.wait()

    def excess(self, wanted: Reservation) -> str | None:
        """What keeps the call from being sent now, in words; None when it fits."""
        budget = self.budget
        if budget.calls is not None and self.calls >= budget.calls:
            return f"{self.calls} of {budget.calls} calls are made; raise calls="
        if budget.tokens is not None:
            taken = self.tokens + self._open_tokens
            if taken + wanted.tokens > budget.tokens:
                left = max(0, budget.tokens - taken)
                return f"{wanted.tokens:,} tokens are wanted and {left:,} are left; raise tokens=, or lower max_tokens"
        if self._limit_usd is not None and wanted.usd is not None:
            spent = self.usd + self._open_usd
            if spent + wanted.usd > self._limit_usd:
                rest = max(Decimal(0), self._limit_usd - spent)
                return (
                    f"it may cost {wanted.usd:.9f} US dollars and {rest:.9f} are left; raise usd=, or lower max_tokens"
                )
        return None

    def affordable(self, prompt: int, price: Price | None) -> int | None:
        """Tokens an answer may have at most if nothing else were on its way; None when nothing bounds them."""
        bounds: list[int] = []
        if self.budget.tokens is not None:
            bounds.append(self.budget.tokens - self.tokens - prompt)
        if self._limit_usd is not None and price is not None and price.output:
            left = self._limit_usd - self.usd - _usd(price, prompt, 0)
            bounds.append(int(left * 1_000_000 / price.output))
        return min(bounds) if bounds else None


def _usd(price: Price, prompt: int, answer: int) -> Decimal:
    """The most these tokens can cost: a vendor may bill the prompt as written to its cache."""
    dear = price.cache_write is not None and price.cache_write > price.input
    amount = cost(price, input_tokens=prompt, output_tokens=answer, cache_write_tokens=prompt if dear else 0)
    assert amount is not None  # the price is known
    return amount


def estimate(request: ProviderRequest, *, price: Price | None, most: int | None) -> Decimal | None:
    """US dollars that the request costs at most, as far as is known; None when the model's price is not.

    Args:
        most: Tokens the model's answers have at most, where known.
    """
    if price is None:
        return None
    bound = request.settings.max_tokens
    if bound is None:
        bound = min(most or _USUAL_BOUND, _USUAL_BOUND)
    return _usd(price, prompt_tokens(request), bound)


def reservation(
    ledger: Ledger, request: ProviderRequest, *, price: Price | None, most: int | None, takes_bound: bool = True
) -> tuple[ProviderRequest, Reservation]:
    """What the request sets aside, and the request with the bound that makes it true.

    Without `max_tokens` an answer has no bound of its own. Under a budget in US dollars or tokens one is sent: the
    model's own limit but at most 8 192 tokens, or what the rest of the budget pays for, if that is less.

    Args:
        price: Of the model; None when unknown.
        most: Tokens the model's answers have at most, where known.
        takes_bound: The model takes `max_tokens`.
    """
    prompt = prompt_tokens(request)
    bound = request.settings.max_tokens
    if bound is None:
        bound = min(most or _USUAL_BOUND, _USUAL_BOUND)
        if takes_bound and (ledger.budget.usd is not None or ledger.budget.tokens is not None):
            left = ledger.affordable(prompt, price)
            if left is not None and left < bound:
                bound = max(left, _LEAST_BOUND)
            request = replace(request, settings=request.settings.model_copy(update={"max_tokens": bound}))
    return request, Reservation(prompt + bound, None if price is None else _usd(price, prompt, bound))
