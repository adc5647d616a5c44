"""The order around a call, outside in: fallback > output check > retry > hooks > CallStarted + durable > provider.

Limits, cache and budget take their places between hooks and `CallStarted`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import anyio

from .._clock import now_us
from ..errors import (
    BadAnswer,
    EmptyResponse,
    LLMOrchError,
    OutputInvalid,
    ProviderUnavailable,
    StepError,
    TimedOut,
    ValueRefused,
)
from ..events import Answer, CallFinished, CallStarted, StepSucceeded, Warned
from ..models.failure import failure_of
from ..models.message import Message
from ..models.payload import Payload
from ..models.settings import Settings
from ..models.usage import Usage
from ..models.values import Data, to_data
from ..planner.catalog import ResolvedModel
from ..policies.fallback import falling_back
from ..policies.retry import retried
from ..ports import Call, OnDelta, Proceed, Provider, ProviderRequest, ProviderResponse
from .journal import Journal
from .services import Conductor, Services
from .state.step import StepState
from .steps.output import OutputSpec

__all__ = ["CallPath", "Reply"]

_CALL_S = 600.0
_MAX_TOKENS = 2**53


@dataclass(frozen=True, slots=True)
class Reply:
    """The value of a payload as data, and the answer it was read from."""

    value: Data
    text: str


class CallPath:
    """Carries one payload of one step to its answer."""

    __slots__ = ("_finished", "conductor", "journal", "output", "payload", "services", "state")

    def __init__(
        self,
        payload: Payload[Any],
        output: OutputSpec,
        state: StepState,
        *,
        journal: Journal,
        services: Services,
        conductor: Conductor,
    ) -> None:
        self.payload = payload
        self.output = output
        self.state = state
        self.journal = journal
        self.services = services
        self.conductor = conductor
        self._finished: CallFinished | None = None

    async def carry(self, messages: Sequence[Message]) -> None:
        """Ask until there is an answer that satisfies the payload, and record it.

        The last call's `CallFinished` is appended without a wait before `StepSucceeded`, so that both are one unit.

        Raises:
            LLMOrchError: No model gave one.
        """
        payload = self.payload
        prompt = tuple(messages)
        try:
            if not payload.fallback:
                reply = await self._checked(payload.model, prompt)
            else:
                models = (payload.model, *payload.fallback)
                reply = await falling_back(lambda model: self._checked(model, prompt), models, warn=self._warn)
            finished = self._finished
            if finished is not None and finished.answer is not None and reply.value == reply.text:
                answer = finished.answer
                finished.answer = Answer(None, answer.tool_calls, answer.vendor)  # a value is written once
        finally:
            self._record()
        self.journal.append(StepSucceeded(self.state.path, reply.value))

    async def _checked(self, model: str | None, prompt: tuple[Message, ...]) -> Reply:
        """Ask one model; send an answer that fails the output type back with the error."""
        resolved = self._resolve(model)
        native = resolved.capabilities.json_schema
        messages = prompt if native or self.output.is_text else self.output.instructed(prompt)
        for left in range(self.payload.output_retries, -1, -1):
            response = await self._answered(resolved, messages)
            try:
                return self._read(response, resolved)
            except OutputInvalid as error:
                if response.finish_reason == "length":
                    raise
                if left == 0:
                    raise self._given_up(error, resolved) from None
                messages = self.output.repair(messages, response.text, error)
        raise AssertionError("output_retries is never negative")

    def _given_up(self, error: OutputInvalid, resolved: ResolvedModel) -> OutputInvalid:
        tries = self.payload.output_retries + 1
        return OutputInvalid(
            f"{error.message} ({resolved.id}, asked {tries} time{'s' if tries > 1 else ''}); raise output_retries, "
            "loosen the output type or use a stronger model; the raw answer is in .text",
            text=error.text,
            step=error.step,
        )

    def _read(self, response: ProviderResponse, resolved: ResolvedModel) -> Reply:
        text = response.text
        if not text.strip():
            raise EmptyResponse(
                f"Step {self.state.path!r}: {resolved.id} answered without text "
                f"(finish reason {response.finish_reason!r}); raise max_tokens or change the prompt",
                step=self.state.path,
            )
        if response.finish_reason == "length":
            if not self.output.is_text:
                raise OutputInvalid(
                    f"Step {self.state.path!r}: the answer of {resolved.id} was cut at its token limit before the "
                    "structured value was complete; raise max_tokens",
                    text=text,
                    step=self.state.path,
                )
            self._warn("truncated", f"the answer of {resolved.id} was cut at its token limit; raise max_tokens")
        return Reply(self.output.read(text, self.state.path), text)

    async def _answered(self, model: ResolvedModel, messages: tuple[Message, ...]) -> ProviderResponse:
        """One answer, retried on what may pass."""
        request = ProviderRequest(
            model=model.model,
            messages=messages,
            settings=self._settings(model),
            output_schema=self.output.schema if model.capabilities.json_schema else None,
            timeout=self.payload.timeout_s,
            extra=self.payload.extra,
            step=self.state.path,
        )
        provider = self.services.models.provider(model.provider)
        attempt = self._hooked if self.services.around else self._sent
        try:
            return await attempt(request, model, provider)  # the usual case pays nothing for the policy
        except Exception as error:  # whatever it is, the policy decides
            first = error
        return await retried(
            partial(attempt, request, model, provider),
            self.payload.retry or self.services.retry,
            first=first,
            pause=self._pause,
        )

    def _settings(self, model: ResolvedModel) -> Settings:
        """What is set, less what a fallback model does not take (the plan has seen to the first one)."""
        settings = self.payload.settings
        dropped = (
            sorted(model.capabilities.unsupported & settings.given().keys()) if model.capabilities.unsupported else []
        )
        if not dropped:
            return settings
        self._warn("setting-dropped", f"{model.id} does not take {', '.join(dropped)}; it was left out")
        return settings.model_copy(update={name: Settings.model_fields[name].default for name in dropped})

    async def _hooked(self, request: ProviderRequest, model: ResolvedModel, provider: Provider) -> ProviderResponse:
        """One try through the hooks."""
        self._record()

        async def innermost(call: Call) -> ProviderResponse:
            return await self._sent(call.request, model, provider)

        proceed: Proceed = innermost
        for around in reversed(self.services.around):
            proceed = _bound(around, proceed)
        number = len(self.state.calls) + 1
        return await proceed(Call(self.journal.state.run_id, self.state.path, number, request))

    async def _sent(self, request: ProviderRequest, model: ResolvedModel, provider: Provider) -> ProviderResponse:
        """One request on the wire, between its committed start and its pending end."""
        self._record()
        journal, path = self.journal, self.state.path
        number = len(self.state.calls) + 1
        started = CallStarted(
            path,
            number,
            model.provider,
            model.model,
            instructed=not self.output.is_text and request.output_schema is None,
        )
        await journal.durable(journal.append(started))
        on_delta: OnDelta | None = None
        if journal.delta_watchers and model.capabilities.streaming:
            on_delta = lambda text: journal.delta(path, number, text)  # noqa: E731  # a closure over three names
        self._finished = CallFinished(path, number)
        try:
            if getattr(provider, "keeps_time", False):  # it bounds the call itself; a second scope would cost 9 us
                response = await provider.complete(request, on_delta=on_delta)
            else:
                response = await self._bounded(request, provider, on_delta)
            response = _sound(response, provider.name)
        except Exception as error:  # recorded, then raised for the policies outside to decide
            known = self._failed(error, model)
            if known is error:
                raise
            raise known from error
        self._succeeded(response, request, model)
        return response

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
            wrapped = ProviderUnavailable(
                f"Provider {model.provider!r} raised {type(error).__name__}: {error}; it should raise a ProviderError",
                provider=model.provider,
                model=model.model,
            )
            error = wrapped
        assert self._finished is not None
        self._finished.error = failure_of(error, step=self.state.path)
        return error

    def _succeeded(self, response: ProviderResponse, request: ProviderRequest, model: ResolvedModel) -> None:
        finished = self._finished
        assert finished is not None
        usage = response.usage
        if usage is None or not _is_credible(usage):
            usage = _estimated(request, response)
            self._warn("usage-estimated", f"{model.id} reported no usable token counts; they are estimated")
        finished.usage = usage if usage.requests else replace(usage, requests=1)
        finished.cost = self.services.models.cost(model, finished.usage)
        finished.finish_reason = response.finish_reason
        finished.answer = Answer(response.text, response.tool_calls, _kept(response.raw))

    async def _pause(self, error: BaseException, wait_s: float) -> None:
        """Wait before the next try, holding no place."""
        if self._finished is not None:
            self._finished.not_before = now_us() + int(wait_s * 1_000_000)
        self._record()
        await self.journal.flush()
        await self.conductor.rest(wait_s)

    def _record(self) -> None:
        """Append the end of the last call, if it is still pending."""
        finished, self._finished = self._finished, None
        if finished is not None and (finished.error is not None or finished.usage is not None):
            self.journal.append(finished)  # a cancelled call stays open in the log: what it cost is not known

    def _warn(self, code: str, text: str) -> None:
        self.journal.append(Warned(self.state.path, code, text))

    def _resolve(self, model: str | None) -> ResolvedModel:
        try:
            return self.services.models.resolve(model)
        except LookupError as error:
            raise LLMOrchError(f"Step {self.state.path!r}: {error.args[0]}", step=self.state.path) from None


def _bound(
    around: Any, proceed: Callable[[Call], Awaitable[ProviderResponse]]
) -> Callable[[Call], Awaitable[ProviderResponse]]:
    async def through(call: Call) -> ProviderResponse:
        response: object = await around(call, proceed)
        if not isinstance(response, ProviderResponse):
            hook = type(getattr(around, "__self__", around)).__name__
            raise StepError(
                f"hook {hook!r} gave {type(response).__name__} from around_call; return what proceed(call) gives"
            )
        return response

    return through


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


def _is_credible(usage: Usage) -> bool:
    """Whether every count is a whole number that a call could use."""
    for count in (
        usage.input_tokens, usage.output_tokens, usage.cached_tokens,
        usage.cache_write_tokens, usage.reasoning_tokens, usage.requests,
    ):  # fmt: skip
        if type(count) is not int or not 0 <= count < _MAX_TOKENS:
            return False
    return True


def _kept(raw: Mapping[str, Data]) -> Mapping[str, Data]:
    """The vendor's words worth keeping, if they can be recorded."""
    if not raw:
        return raw
    if raw.__class__ is dict and all(map(_is_plain, raw, raw.values())):
        return dict(raw)  # what our own providers keep; the walk that finds the rest out takes ten times as long
    try:
        return cast("Mapping[str, Data]", to_data(raw))
    except ValueRefused:
        return {}


def _is_plain(name: object, value: object) -> bool:
    """Whether both can be recorded as they are, at a glance."""
    return type(name) is str and name.isascii() and (value is None or (type(value) is str and value.isascii()))


def _estimated(request: ProviderRequest, response: ProviderResponse) -> Usage:
    """Tokens by length: three characters a token for the prompt, four for the answer."""
    sent = sum(len(message.text) for message in request.messages)
    return Usage(input_tokens=-(-sent // 3), output_tokens=-(-len(response.text) // 4), requests=1)
