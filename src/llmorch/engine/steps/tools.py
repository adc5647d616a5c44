"""Runs the tools that an answer asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from ...errors import OutputInvalid, StepError, ToolError, ValueRefused
from ...events import ToolFinished, ToolStarted, Warned
from ...models.context import RunContext
from ...models.failure import Failure, failure_of
from ...models.message import ToolCall
from ...models.payload import Payload
from ...models.question import is_granted
from ...models.tool import Tool, ToolMistake, result_text
from ...requests import ToolSpec
from ..journal import Journal
from ..services import Conductor, Services
from ..state.step import StepState

__all__ = ["ToolUser", "tool_specs"]

AnyTool = Tool[..., Any]  # Any: of any function


def tool_specs(payload: Payload[Any]) -> tuple[ToolSpec, ...]:
    """The payload's tools as a provider is told of them, worked out once and kept with it."""
    kept: dict[str, Any] = vars(payload)  # kept with the value, as a cached_property is
    found: tuple[ToolSpec, ...] | None = kept.get("_tool_specs")
    if found is None:
        found = tuple(ToolSpec(tool.name, tool.description, tool.schema) for tool in payload.tools)
        kept["_tool_specs"] = found
    return found


class ToolUser:
    """Runs the tools of one step."""

    __slots__ = ("_conductor", "_journal", "_services", "_state", "_tools")

    def __init__(
        self,
        tools: Sequence[AnyTool],
        state: StepState,
        *,
        journal: Journal,
        services: Services,
        conductor: Conductor,
    ) -> None:
        self._conductor = conductor
        self._tools: Mapping[str, AnyTool] = {tool.name: tool for tool in tools}
        self._state = state
        self._journal = journal
        self._services = services

    async def results(self, number: int, calls: Sequence[ToolCall], *, was_cut: bool) -> tuple[str, ...]:
        """What the tools gave, one text for each call; those of one turn run at once.

        A result that the log has is taken from there. Mistakes in the arguments, a `ToolError` and a tool that took too
        long become text for the model.

        Args:
            number: Of the request whose answer asked for them.
            was_cut: The answer ended at its token limit, so arguments may be incomplete.

        Raises:
            OutputInvalid: Arguments were cut.
            StepError: A tool raised something else than a `ToolError`.
        """
        journal, path = self._journal, self._state.path
        if was_cut:
            self._refuse_cut(calls)
        found = {call.id: self._state.tool_result(number, call.id) for call in calls}
        waiting = [call for call in calls if found[call.id] is None]
        for call in waiting:
            await self._ask(number, call)
        for call in waiting:
            journal.append(ToolStarted(path, number, call.id, call.name, call.arguments))
        await journal.flush()
        await self._all(number, waiting, found)
        return tuple(found[call.id] or "" for call in calls)

    async def _ask(self, number: int, call: ToolCall) -> None:
        """Have a person say whether a tool may be used that must not be used unasked; a mistake asks nobody."""
        tool = self._tools.get(call.name)
        if tool is None or not tool.requires_approval or (number, call.id) in (self._state.granted or {}):
            return
        try:
            tool.read(call.arguments)
        except ToolMistake:
            return
        await self._conductor.granted(self._state, number, call)

    async def _all(self, number: int, calls: Sequence[ToolCall], found: dict[str, str | None]) -> None:
        if len(calls) == 1:
            found[calls[0].id] = await self._one(number, calls[0])
            return

        async def one(call: ToolCall) -> None:
            found[call.id] = await self._one(number, call)

        try:
            async with anyio.create_task_group() as group:
                for call in calls:
                    group.start_soon(one, call)
        except BaseExceptionGroup as errors:
            first = next(iter(errors.exceptions))
            raise first from first.__cause__

    async def _one(self, number: int, call: ToolCall) -> str:
        """Run one tool and record what it gave."""
        path = self._state.path
        error: Failure | None = None
        try:
            text = result_text(await self._ran(number, call), where=f"the result of tool {call.name!r}")
        except (ToolMistake, ToolError) as mistake:
            text = str(mistake).encode("utf-8", "replace").decode() or "the tool failed"
            error = failure_of(mistake if isinstance(mistake, ToolError) else ToolError(text), step=path)
        except ValueRefused as refused:
            raise self._failed(number, call, refused, f"{refused.message}; return text or data") from refused
        except Exception as raised:  # whatever a tool raises but a ToolError is the step's failure
            said = f"{type(raised).__name__}: {raised}"
            what = f"tool {call.name!r} raised {said}; raise ToolError to tell the model instead"
            raise self._failed(number, call, raised, what) from raised
        self._journal.append(ToolFinished(path, number, call.id, call.name, text, error))
        return text

    def _failed(self, number: int, call: ToolCall, cause: Exception, what: str) -> StepError:
        """The step's failure, noted as the tool's end."""
        path = self._state.path
        failure = StepError(f"Step {path!r}: {what}", step=path)
        failure.__cause__ = cause
        self._journal.append(ToolFinished(path, number, call.id, call.name, error=failure_of(failure, step=path)))
        return failure

    async def _ran(self, number: int, call: ToolCall) -> Any:  # Any: whatever the tool returns
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            raise ToolMistake(f"there is no tool {call.name!r}; there are: {known}")
        if tool.requires_approval and (number, call.id) in (self._state.granted or {}):
            allowed, note = is_granted((self._state.granted or {})[number, call.id])
            if not allowed:
                raise ToolError(f"{tool.name} was not called: a person did not allow it{': ' + note if note else ''}")
        given = partial(
            tool.call,
            tool.read(call.arguments),
            RunContext(self._journal.state.run_id, self._state.path, self._services.deps),
        )
        if tool.timeout_s is None:
            return await self._called(tool, given)
        with anyio.move_on_after(tool.timeout_s):
            return await self._called(tool, given)
        raise ToolError(f"the tool {tool.name!r} did not finish within {tool.timeout_s:g} s")

    async def _called(self, tool: AnyTool, given: Callable[[], Any]) -> Any:  # Any: as above
        if tool.is_async:
            return await given()
        try:
            return await anyio.to_thread.run_sync(
                partial(_contained, given), abandon_on_cancel=True, limiter=self._services.threads()
            )
        except anyio.get_cancelled_exc_class():
            path = self._state.path
            text = f"the thread of tool {tool.name!r} of step {path!r} cannot be stopped; it was left behind"
            self._journal.append(Warned(path, "thread-abandoned", text))
            raise

    def _refuse_cut(self, calls: Sequence[ToolCall]) -> None:
        for call in calls:
            tool = self._tools.get(call.name)
            try:
                if tool is not None:
                    tool.read(call.arguments)
            except ToolMistake as mistake:
                path = self._state.path
                raise OutputInvalid(
                    f"Step {path!r}: the answer was cut at its token limit inside the arguments of tool {call.name!r} "
                    f"({mistake}); raise max_tokens",
                    text=call.arguments,
                    step=path,
                ) from None


def _contained(given: Callable[[], Any]) -> Any:  # Any: whatever the tool returns
    """Call it in a worker thread; what would end the process must not leave the thread as it is."""
    try:
        return given()
    except SystemExit as error:
        raise RuntimeError(f"the tool called sys.exit({error.code!r})") from error
