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
from ..models.values import Data
from ..planner.catalog import ResolvedModel
from ..policies.fallback import falling_back
from ..policies.limits import Limiter, limited
from ..policies.retry import retried
from ..policies.tokens import prompt_tokens
from ..ports import Call, Proceed, ProviderRequest, ProviderResponse
from .errand import Aim, Errand
from .journal import Journal
from .sending import Sender
from .services import Conductor
from .state.step import StepState
from .steps.conversation import Turn, conversation, replay_of, rounds_of, turns_of, unanswered
from .steps.memory import Memory
from .steps.tool_words import told_in_words
from .steps.tools import ToolUser

__all__ = ["CallPath"]

_USUAL_ANSWER = 1_000  # tokens; what a rate limit sets aside for an answer without a bound, until its bill is known
Send = Callable[[ProviderRequest], Awaitable[ProviderResponse]]


class CallPath(Sender):
    """Carries one payload of one step to its answer."""

    __slots__ = ("_memory", "_turns")

    def __init__(self, errand: Errand, state: StepState, journal: Journal, conductor: Conductor) -> None:
        super().__init__(errand, state, journal, conductor)
        self._memory = Memory.of(errand, state.path, run=journal.state) if errand.is_cached else None
        self._turns: Sequence[Turn] = turns_of(state) if state.asked is not None else ()

    async def carry(self, prompt: tuple[Message, ...]) -> None:
        """Ask until there is an answer that satisfies the payload, and record it.

        The last call's `CallFinished` is appended without a wait before `StepSucceeded`, so that both are one unit.

        Raises:
            LLMOrchError: No model gave one.
        """
        errand = self.errand
        try:
            if self.state.asked is not None and errand.tools:
                await self._finish_round()
            if not errand.fallback:
                value = await self._checked(prompt, errand.model)
            else:
                models = (errand.model, *errand.fallback)
                value = await falling_back(partial(self._checked, prompt), models, warn=self.warn)
        except BaseException:
            self.record()
            raise
        self.record(value)
        cached = self._memory is not None and self._memory.was_hit
        self.journal.append(StepSucceeded(self.state.path, value, cached))

    async def _checked(self, prompt: tuple[Message, ...], model: str | None) -> Data:
        """The value that one model gives.

        Uses the tools it asks for, and sends an answer that fails the output type back with the error.
        """
        aim = self._aim(model)
        attempt = self._attempt(aim)
        repairs = self.errand.output_retries
        while True:
            request = self._request(aim, prompt)
            try:
                response = await attempt(request)  # the usual case pays nothing for the policy
            except Exception as error:  # whatever it is, the policy decides
                response = await retried(partial(attempt, request), self.errand.retry, first=error, pause=self.pause)
            if response.tool_calls and self.errand.tools:
                await self._use_tools(response, aim.model)
                continue
            try:
                value = self._read(response, aim.model)
            except OutputInvalid as error:
                self._repair(error, response, resolved=aim.model, left=repairs)
                repairs -= 1
                continue
            if self._memory is not None:
                await self._memory.keep(response)
            return value

    def _aim(self, model: str | None) -> Aim:
        """The model, as it is asked; what is set and it does not take is told (the plan has seen to the first one)."""
        try:
            aim = self.errand.aim(model)
        except LookupError as error:
            raise LLMOrchError(f"Step {self.state.path!r}: {error.args[0]}", step=self.state.path) from None
        if aim.dropped:
            self.warn("setting-dropped", f"{aim.model.id} does not take {aim.dropped}; it was left out")
        return aim

    def _attempt(self, aim: Aim) -> Send:
        """One try, through the policies that apply, inside out."""
        self.aim = aim
        send: Send = self.send
        if aim.limiters:
            send = partial(self._limited, aim.limiters, send)
        if self._memory is not None:
            send = partial(self._memory.answered, send, aim.model.id)
        if self.errand.services.around:
            send = partial(self._hooked, send)
        return send

    def _request(self, aim: Aim, prompt: tuple[Message, ...]) -> ProviderRequest:
        """What this model is asked next."""
        errand = self.errand
        is_plain = not (self._turns or errand.tools or aim.schema_in_words)
        messages = prompt if is_plain else self._told(prompt, aim)
        tools = aim.tools if errand.tools and self._may_use_tools else ()
        settings, schema, timeout_s, extra = aim.settings, aim.schema, errand.timeout_s, errand.extra
        # By position: names would take as long as the request itself.
        return ProviderRequest(aim.model.model, messages, settings, schema, tools, timeout_s, extra, self.state.path)

    @property
    def _may_use_tools(self) -> bool:
        return bool(self.errand.tools) and rounds_of(self._turns) < self.errand.max_tool_rounds

    def _told(self, prompt: tuple[Message, ...], aim: Aim) -> tuple[Message, ...]:
        """The prompt for this model, with what it cannot be told natively in words, and the turns so far."""
        errand = self.errand
        if aim.schema_in_words:
            prompt = errand.output.instructed(prompt)
        if aim.tools_in_words and self._may_use_tools:
            prompt = told_in_words(prompt, errand.specs)
        if not self._turns:
            return prompt
        return conversation(
            prompt,
            self._turns,
            errand.output,
            model=(aim.model.provider, aim.model.model),
            path=self.state.path,
            in_words=aim.tools_in_words,
        )

    async def _use_tools(self, response: ProviderResponse, model: ResolvedModel) -> None:
        """Carry out what an answer asks for.

        Raises:
            ToolError: It was asked to answer without tools.
        """
        if not self._may_use_tools:
            raise ToolError(
                f"Step {self.state.path!r}: {model.id} is still asking for tools after {self.errand.max_tool_rounds} "
                "rounds; raise max_tool_rounds or change the prompt",
                step=self.state.path,
            )
        self.record()
        turn = Turn((model.provider, model.model), response.text, response.tool_calls, (), replay_of(response.raw))
        await self._take_round(self.state.call_count, turn, was_cut=response.finish_reason == "length")

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
            self.errand.tools,
            self.state,
            journal=self.journal,
            services=self.errand.services,
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
        tries = self.errand.output_retries + 1
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
            if not self.errand.output.is_text:
                raise OutputInvalid(
                    f"Step {self.state.path!r}: the answer of {resolved.id} was cut at its token limit before the "
                    "structured value was complete; raise max_tokens",
                    text=text,
                    step=self.state.path,
                )
            self.warn("truncated", f"the answer of {resolved.id} was cut at its token limit; raise max_tokens")
        return self.errand.output.read(text, self.state.path)

    async def _limited(self, limiters: tuple[Limiter, ...], send: Send, request: ProviderRequest) -> ProviderResponse:
        tokens = prompt_tokens(request) + (request.settings.max_tokens or _USUAL_ANSWER)
        return await limited(limiters, partial(send, request), tokens=tokens, aside=self.conductor.aside)

    async def _hooked(self, send: Send, request: ProviderRequest) -> ProviderResponse:
        """One try through the hooks."""
        self.record()

        async def innermost(call: Call) -> ProviderResponse:
            return await send(call.request)

        proceed: Proceed = innermost
        for around in reversed(self.errand.services.around):
            proceed = _bound(around, proceed)
        number = self.state.call_count + 1
        return await proceed(Call(self.journal.state.run_id, self.state.path, number, request))


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
