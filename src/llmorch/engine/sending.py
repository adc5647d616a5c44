"""One request on the wire, between its committed start and its pending end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import anyio

from .._clock import now_us
from ..errors import BadAnswer, BudgetExceeded, LLMOrchError, ProviderUnavailable, TimedOut, ValueRefused
from ..events import Answer, CallFinished, CallStarted, Warned
from ..models.failure import failure_of
from ..models.usage import Usage
from ..models.values import Data, to_data
from ..planner.catalog import ResolvedModel
from ..policies.budget import Ledger, Reservation, estimate, reservation
from ..policies.tokens import prompt_tokens
from ..ports import OnDelta, Provider, ProviderRequest, ProviderResponse
from .errand import Aim, Errand
from .journal import Journal
from .services import Conductor
from .state.step import StepState
from .steps.tool_words import calls_in

__all__ = ["Sender"]

_CALL_S = 600.0
_WHOLE: set[type] = {int}
_MAX_TOKENS = 2**53


class Sender:
    """Sends the requests of one step and keeps its ledger.

    The end of the last call is pending until it is recorded: alone, or together with the step's success.

    Attributes:
        aim: Whom it sends to; set before the first request.
    """

    __slots__ = ("_pending", "_response", "aim", "conductor", "errand", "journal", "state")

    aim: Aim

    def __init__(self, errand: Errand, state: StepState, journal: Journal, conductor: Conductor) -> None:
        self.errand = errand
        self.state = state
        self.journal = journal
        self.conductor = conductor
        self._pending: CallFinished | None = None
        self._response: ProviderResponse | None = None

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        """Reserve, record the start, send, and note the end.

        Raises:
            BudgetExceeded: It does not fit what is left of the budget; nothing was sent.
            LLMOrchError: What the provider raised.
        """
        self.record()
        if not self.journal.is_instant and self.journal.is_full:
            await self.conductor.aside(self.journal.space)  # what is not recorded is not paid for
        aim = self.aim
        model, provider = aim.model, aim.provider
        reserved: Reservation | None = None
        ledger = self.journal.state.ledger
        if ledger is not None:
            request, reserved = await self._reserved(ledger, request, model)
        journal, path = self.journal, self.state.path
        number = self.state.call_count + 1
        started = self._start(request, number, reserved)
        seq = journal.append(started)
        if journal.is_instant:
            journal.commit_now()
        else:
            await journal.durable(seq)
        on_delta: OnDelta | None = None
        if journal.delta_watchers and model.capabilities.streaming:
            on_delta = partial(journal.delta, path, number)  # a closure would cost every call three cells
        self._pending = CallFinished(path, number)
        try:
            if aim.keeps_time:  # it bounds the call itself; a second scope would cost 9 us
                response = await provider.complete(request, on_delta=on_delta)
            else:
                response = await self._bounded(request, provider, on_delta)
            response = _sound(response, model.provider)
        except Exception as error:  # recorded, then raised for the policies outside to decide
            known = self._failed(error, model)
            if known is error:
                raise
            raise known from error
        if aim.tools_in_words:
            response = calls_in(response, number)
        elif response.tool_calls:
            response = replace(response, tool_calls=_distinct(response, number))
        self._succeeded(response, request, model)
        return response

    def _start(self, request: ProviderRequest, number: int, reserved: Reservation | None) -> CallStarted:
        """The event that says that the request is about to be sent."""
        aim, model = self.aim, self.aim.model
        started = CallStarted(self.state.path, number, model.provider, model.model)
        if request.output_schema is None and not self.errand.output.is_text:
            started.instructed = True
        if aim.tools_in_words:
            started.tools_in_words = True
        if reserved is not None:
            started.estimate, started.reserved_tokens = reserved.usd, reserved.tokens
        elif not self.journal.is_instant:  # should its end never be known, the log says what it may have cost
            started.estimate = estimate(request, price=model.price, most=model.capabilities.max_output_tokens)
        return started

    async def _reserved(
        self, ledger: Ledger, request: ProviderRequest, model: ResolvedModel
    ) -> tuple[ProviderRequest, Reservation]:
        """The request with its bound, and what it sets aside; waits while it does not fit and others are on their way.

        Nothing is awaited between the last look at the ledger and the record of the start, so two calls never take the
        same money.
        """
        abilities = model.capabilities
        look = partial(
            reservation,
            ledger,
            request,
            price=model.price,
            most=abilities.max_output_tokens,
            takes_bound="max_tokens" not in abilities.unsupported,
        )
        bounded, wanted = look()
        if not ledger.is_awaited and ledger.excess(wanted) is None:
            return bounded, wanted
        is_first = False

        async def enter() -> None:
            nonlocal is_first
            await ledger.line.acquire()
            is_first = True

        try:
            await self.conductor.aside(enter)  # may be cancelled after it entered, on the way back to its place
            while True:
                bounded, wanted = look()
                excess = ledger.excess(wanted)
                if excess is None:
                    return bounded, wanted
                if not ledger.is_open:
                    raise BudgetExceeded(
                        f"Step {self.state.path!r}: the next call to {model.id} does not fit the budget, and was not "
                        f"sent: {excess}",
                        step=self.state.path,
                    )
                await self.conductor.aside(ledger.change)
        finally:
            if is_first:
                ledger.line.release()

    async def _bounded(
        self, request: ProviderRequest, provider: Provider, on_delta: OnDelta | None
    ) -> ProviderResponse:
        limit_s = request.timeout or _CALL_S
        with anyio.move_on_after(limit_s):
            return await provider.complete(request, on_delta=on_delta)
        raise TimedOut(
            f"Step {self.state.path!r}: {provider.name}:{request.model} did not answer within {limit_s:g} s; "
            "raise the payload's timeout",
            step=self.state.path,
        )

    def _failed(self, error: Exception, model: ResolvedModel) -> Exception:
        if not isinstance(error, LLMOrchError):
            error = ProviderUnavailable(
                f"Provider {model.provider!r} raised {type(error).__name__}: {error}; it should raise a ProviderError",
                provider=model.provider,
                model=model.model,
            )
        assert self._pending is not None
        self._pending.error = failure_of(error, step=self.state.path)
        return error

    def _succeeded(self, response: ProviderResponse, request: ProviderRequest, model: ResolvedModel) -> None:
        finished = self._pending
        assert finished is not None
        usage = response.usage
        if usage is None or not _is_credible(usage) or (usage.input_tokens == 0 and response.text):
            usage = Usage(prompt_tokens(request), -(-len(response.text) // 4), requests=1)
            self.warn("usage-estimated", f"{model.id} reported no usable token counts; they are estimated")
        finished.usage = usage if usage.requests else replace(usage, requests=1)
        finished.cost = self.errand.services.models.cost(model, finished.usage)
        finished.finish_reason = response.finish_reason
        self._response = response

    async def pause(self, error: BaseException, wait_s: float) -> None:
        """Wait before the next try, holding no place."""
        if self._pending is not None:
            self._pending.not_before = now_us() + int(wait_s * 1_000_000)
        self.record()
        await self.journal.flush()
        await self.conductor.rest(wait_s)

    def record(self, value: Data = None) -> None:
        """Append the end of the last call, if it is still pending.

        Args:
            value: The step's, which is recorded next: text that stands there is not written a second time.
        """
        finished, self._pending = self._pending, None
        response, self._response = self._response, None
        if finished is None:
            return
        if response is not None:
            text = None if value == response.text else response.text
            finished.answer = Answer(text, response.tool_calls, _kept(response.raw))
        elif finished.error is None:
            return  # a cancelled call stays open in the log: what it cost is not known
        self.journal.append(finished)

    def warn(self, code: str, text: str) -> None:
        """Tell the reader of the run."""
        self.journal.append(Warned(self.state.path, code, text))


def _sound(response: ProviderResponse, provider: str) -> ProviderResponse:
    """The answer, with text that can be recorded; what comes from plugins is checked once, here.

    Raises:
        BadAnswer: It is no ProviderResponse.
    """
    if not isinstance(response, ProviderResponse):
        raise BadAnswer(
            f"provider {provider!r} gave {type(response).__name__}, not a ProviderResponse", provider=provider
        )
    if response.text.isascii():
        return response
    return replace(response, text=response.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _distinct(response: ProviderResponse, number: int) -> tuple[Any, ...]:  # Any: ToolCall
    """The tool calls with an id each that no other of the turn has: results are matched by it."""
    calls = list(response.tool_calls)
    taken: set[str] = set()
    for index, call in enumerate(calls):
        if not call.id or call.id in taken:
            calls[index] = call = replace(call, id=f"call_{number}_{index + 1}")
        taken.add(call.id)
    return tuple(calls)


def _is_credible(usage: Usage) -> bool:
    """Whether every count is a whole number that a call could use."""
    a, b, c = usage.input_tokens, usage.output_tokens, usage.cached_tokens
    d, e, f = usage.cache_write_tokens, usage.reasoning_tokens, usage.requests
    if {a.__class__, b.__class__, c.__class__, d.__class__, e.__class__, f.__class__} != _WHOLE:
        return False
    return 0 <= a | b | c | d | e | f < _MAX_TOKENS  # one bit too high, or a sign, is in the whole if it is in a part


def _kept(raw: Mapping[str, Data]) -> Mapping[str, Data]:
    """The vendor's words worth keeping, if they can be recorded."""
    if not raw:
        return raw
    if raw.__class__ is dict and _is_plain(raw):
        return dict(raw)  # what our own providers keep; the walk that finds the rest out takes ten times as long
    try:
        return cast("Mapping[str, Data]", to_data(raw))
    except ValueRefused:
        return {}


def _is_plain(raw: Mapping[Any, Any]) -> bool:  # Any: whatever a provider keeps
    """Whether all of it can be recorded as it is, at a glance."""
    for name, value in raw.items():
        if value is not None and (value.__class__ is not str or not value.isascii()):
            return False
        if name.__class__ is not str or not name.isascii():
            return False
    return True
