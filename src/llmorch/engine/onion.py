"""The order around a call, outside in, known in this one file.

fallback > output check and tool rounds > retry > hooks > cache > limiter > reserve + CallStarted + durable > provider.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import EmptyResponse, LLMOrchError, OutputInvalid, StepError, ToolError
from ..events import StepSucceeded
from ..models.message import Message
from ..models.payload import Payload
from ..models.settings import Settings
from ..models.values import Data
from ..planner.catalog import ResolvedModel
from ..policies.fallback import falling_back
from ..policies.limits import Limiter, limited
from ..policies.retry import retried
from ..policies.tokens import prompt_tokens
from ..ports import Call, Proceed, ProviderRequest, ProviderResponse
from .journal import Journal
from .sending import Sender
from .services import Conductor, Services
from .state.step import StepState
from .steps.conversation import Turn, conversation, replay_of, rounds_of, turns_of, unanswered
from .steps.memory import Memory
from .steps.output import OutputSpec
from .steps.tool_words import told_in_words
from .steps.tools import ToolUser, tool_specs

__all__ = ["CallPath"]

_NOTHING_SET = vars(Settings())  # the usual case: told at a glance, where `given()` walks all fields
_USUAL_ANSWER = 1_000  # tokens; what a rate limit sets aside for an answer without a bound, until its bill is known
Send = Callable[[ProviderRequest], Awaitable[ProviderResponse]]


class CallPath:
    """Carries one payload of one step to its answer."""

    __slots__ = ("_memory", "_sender", "_turns", "conductor", "journal", "output", "payload", "services", "state")

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
        self._sender = Sender(payload, state, journal=journal, services=services, conductor=conductor)
        self._memory = Memory.of(payload, state.path, services=services, run=journal.state)
        self._turns: Sequence[Turn] = turns_of(state) if state.calls else ()

    async def carry(self, messages: Sequence[Message]) -> None:
        """Ask until there is an answer that satisfies the payload, and record it.

        The last call's `CallFinished` is appended without a wait before `StepSucceeded`, so that both are one unit.

        Raises:
            LLMOrchError: No model gave one.
        """
        payload, sender = self.payload, self._sender
        prompt = tuple(messages)
        try:
            if self.state.calls and payload.tools:
                await self._finish_round()
            if not payload.fallback:
                value = await self._checked(prompt, payload.model)
            else:
                models = (payload.model, *payload.fallback)
                value = await falling_back(partial(self._checked, prompt), models, warn=sender.warn)
        except BaseException:
            sender.record()
            raise
        sender.record(value)
        cached = self._memory is not None and self._memory.was_hit
        self.journal.append(StepSucceeded(self.state.path, value, cached))

    async def _checked(self, prompt: tuple[Message, ...], model: str | None) -> Data:
        """The value that one model gives.

        Uses the tools it asks for, and sends an answer that fails the output type back with the error.
        """
        resolved = self._resolve(model)
        attempt = self._attempt(resolved)
        settings = self._settings(resolved)
        repairs = self.payload.output_retries
        while True:
            request = self._request(resolved, prompt, settings=settings)
            try:
                response = await attempt(request)  # the usual case pays nothing for the policy
            except Exception as error:  # whatever it is, the policy decides
                response = await self._again(attempt, request, error)
            if response.tool_calls and self.payload.tools:
                await self._use_tools(response, resolved)
                continue
            try:
                value = self._read(response, resolved)
            except OutputInvalid as error:
                self._repair(error, response, resolved=resolved, left=repairs)
                repairs -= 1
                continue
            if self._memory is not None:
                await self._memory.keep(response)
            return value

    async def _again(self, attempt: Send, request: ProviderRequest, first: Exception) -> ProviderResponse:
        """The answer after a first try that failed, where trying again may help."""
        policy = self.payload.retry or self.services.retry
        return await retried(partial(attempt, request), policy, first=first, pause=self._sender.pause)

    def _request(self, model: ResolvedModel, prompt: tuple[Message, ...], *, settings: Settings) -> ProviderRequest:
        """What this model is asked next."""
        payload = self.payload
        offers_tools = self._may_use_tools and model.capabilities.tools
        return ProviderRequest(
            model=model.model,
            messages=self._told(prompt, model),
            settings=settings,
            output_schema=None if self.output.is_text or not self._is_native(model) else self.output.schema,
            tools=tool_specs(payload) if offers_tools else (),
            timeout=payload.timeout_s,
            extra=payload.extra,
            step=self.state.path,
        )

    @property
    def _may_use_tools(self) -> bool:
        return bool(self.payload.tools) and rounds_of(self._turns) < self.payload.max_tool_rounds

    def _told(self, prompt: tuple[Message, ...], model: ResolvedModel) -> tuple[Message, ...]:
        """The prompt for this model, with what it cannot be told natively in words, and the turns so far."""
        if not self.output.is_text and not self._is_native(model):
            prompt = self.output.instructed(prompt)
        in_words = bool(self.payload.tools) and not model.capabilities.tools
        if in_words and self._may_use_tools:
            prompt = told_in_words(prompt, tool_specs(self.payload))
        if not self._turns:
            return prompt
        return conversation(
            prompt,
            self._turns,
            self.output,
            model=(model.provider, model.model),
            path=self.state.path,
            in_words=in_words,
        )

    def _is_native(self, model: ResolvedModel) -> bool:
        """Whether the model is told the output schema in its own way."""
        abilities = model.capabilities
        return abilities.json_schema and (abilities.schema_with_tools or not self.payload.tools)

    async def _use_tools(self, response: ProviderResponse, model: ResolvedModel) -> None:
        """Carry out what an answer asks for.

        Raises:
            ToolError: It was asked to answer without tools.
        """
        if not self._may_use_tools:
            raise ToolError(
                f"Step {self.state.path!r}: {model.id} is still asking for tools after {self.payload.max_tool_rounds} "
                "rounds; raise max_tool_rounds or change the prompt",
                step=self.state.path,
            )
        self._sender.record()
        turn = Turn((model.provider, model.model), response.text, response.tool_calls, (), replay_of(response.raw))
        await self._take_round(len(self.state.calls), turn, was_cut=response.finish_reason == "length")

    async def _finish_round(self) -> None:
        """Go on where the step was left: tools that an answer asked for and that gave no result yet run first."""
        call = unanswered(self.state)
        if call is not None and call.answer is not None:
            answer = call.answer
            turn = Turn(call.model, answer.text or "", answer.tool_calls, (), replay_of(answer.vendor))
            await self._take_round(call.number, turn, was_cut=call.finish_reason == "length")

    async def _take_round(self, number: int, asked: Turn, *, was_cut: bool) -> None:
        """Run the tools that the answer of a call asks for, less those whose result is recorded."""
        user = ToolUser(
            self.payload.tools,
            self.state,
            journal=self.journal,
            services=self.services,
            conductor=self.conductor,
        )
        results = await user.results(number, asked.calls, was_cut=was_cut)
        self._turns = (*self._turns, replace(asked, results=results))

    def _repair(self, error: OutputInvalid, response: ProviderResponse, *, resolved: ResolvedModel, left: int) -> None:
        """Have an answer that does not fit sent back, or raise when that does not help or was done often enough."""
        if response.finish_reason == "length":
            raise error
        if not left:
            raise self._given_up(error, resolved) from None
        self._turns = (*self._turns, Turn((resolved.provider, resolved.model), response.text))

    def _given_up(self, error: OutputInvalid, resolved: ResolvedModel) -> OutputInvalid:
        tries = self.payload.output_retries + 1
        return OutputInvalid(
            f"{error.message} ({resolved.id}, asked {tries} time{'s' if tries > 1 else ''}); raise output_retries, "
            "loosen the output type or use a stronger model; the raw answer is in .text",
            text=error.text,
            step=error.step,
        )

    def _read(self, response: ProviderResponse, resolved: ResolvedModel) -> Data:
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
            self._sender.warn("truncated", f"the answer of {resolved.id} was cut at its token limit; raise max_tokens")
        return self.output.read(text, self.state.path)

    def _attempt(self, model: ResolvedModel) -> Send:
        """One try, through the policies that apply, inside out."""
        services = self.services
        self._sender.aim(model)
        send: Send = self._sender.send
        if services.limits is not None:
            limiters = services.limits.of(model.provider, model.id)
            if limiters:
                send = partial(self._limited, limiters, send)
        if self._memory is not None:
            send = partial(self._memory.answered, send, model.id)
        if services.around:
            send = partial(self._hooked, send)
        return send

    async def _limited(self, limiters: tuple[Limiter, ...], send: Send, request: ProviderRequest) -> ProviderResponse:
        tokens = prompt_tokens(request) + (request.settings.max_tokens or _USUAL_ANSWER)
        return await limited(limiters, partial(send, request), tokens=tokens, aside=self.conductor.aside)

    def _settings(self, model: ResolvedModel) -> Settings:
        """What is set, less what a fallback model does not take (the plan has seen to the first one)."""
        settings = self.payload.settings
        unsupported = model.capabilities.unsupported
        if not unsupported or vars(settings) == _NOTHING_SET:
            return settings
        dropped = sorted(unsupported & settings.given().keys())
        if not dropped:
            return settings
        self._sender.warn("setting-dropped", f"{model.id} does not take {', '.join(dropped)}; it was left out")
        return settings.model_copy(update={name: Settings.model_fields[name].default for name in dropped})

    async def _hooked(self, send: Send, request: ProviderRequest) -> ProviderResponse:
        """One try through the hooks."""
        self._sender.record()

        async def innermost(call: Call) -> ProviderResponse:
            return await send(call.request)

        proceed: Proceed = innermost
        for around in reversed(self.services.around):
            proceed = _bound(around, proceed)
        number = len(self.state.calls) + 1
        return await proceed(Call(self.journal.state.run_id, self.state.path, number, request))

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
