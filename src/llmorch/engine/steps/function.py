"""A step that calls a Python function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from ...definition.actions import FunctionAction
from ...definition.functions import RunContext
from ...errors import StepError
from ...events import StepSucceeded, Warned
from ...models.values import Data, copy_data, to_data
from ...policies.retry import retrying
from ...schema import describe, validate
from ..journal import Journal
from ..services import Conductor, Services
from ..state.step import StepState

__all__ = ["exited", "run_function"]

_SIMPLE = (str, int, float, bool, list, dict)


async def run_function(
    state: StepState,
    action: FunctionAction,
    args: dict[str, Any],
    *,
    journal: Journal,
    services: Services,
    conductor: Conductor,
) -> None:
    """Call it with its arguments validated to their annotations, and record what it returns as data.

    Raises:
        Exception: Whatever the function raised.
    """
    if action.retry is not None:
        value = await retrying(
            lambda: _called(
                state, action, _given(state, action, copy_data(args), journal, services), journal, services
            ),
            action.retry,
            pause=lambda _, wait_s: conductor.rest(wait_s),
            may_pass=lambda error, _, __: isinstance(error, Exception),
        )
    else:
        given = _given(state, action, args, journal, services) if action.typed or action.context is not None else args
        if action.is_async:
            value = await action.function(**given)
        else:
            value = await _called(state, action, given, journal, services)
    journal.append(StepSucceeded(state.path, _recorded(action, value, state.path)))


def _recorded(action: FunctionAction, value: Any, path: str) -> Data:
    """What the function returned, as data that fits its annotation.

    Raises:
        ValueRefused: It is no data.
        StepError: It does not fit; whoever reads it by its type would fail much later.
    """
    data = to_data(value, step=path)
    expected = action.returns
    if expected is None or expected is Any or value.__class__ is expected:
        return data
    try:
        validate(expected, data)
    except ValueError as error:
        raise StepError(
            f"Step {path!r} returned {value!r:.80}, which does not fit its annotation {describe(expected)} ({error}); "
            "mend the function or the annotation",
            step=path,
        ) from None
    return data


def _contained(function: Callable[..., Any], given: dict[str, Any], path: str) -> Any:
    """Call it in a worker thread; what would end the process must not leave the thread as it is."""
    try:
        return function(**given)
    except SystemExit as error:
        raise exited(path, error) from error


def exited(path: str, error: SystemExit) -> StepError:
    """The failure of a step that wanted to end the whole process."""
    text = f"Step {path!r} called sys.exit({error.code!r}); a step ends by returning, or by raising an Exception"
    return StepError(text, step=path)


def _given(
    state: StepState, action: FunctionAction, args: dict[str, Data], journal: Journal, services: Services
) -> dict[str, Any]:
    """The arguments as the function wants them, and its context."""
    given = fitted(action, dict(args), state.path)
    if action.context is not None:
        given[action.context] = RunContext(journal.state.run_id, state.path, services.deps)
    return given


async def _called(
    state: StepState, action: FunctionAction, given: dict[str, Any], journal: Journal, services: Services
) -> Any:
    if action.is_async:
        return await action.function(**given)
    if action.inline:
        return action.function(**given)
    limiter = services.threads()
    try:
        return await anyio.to_thread.run_sync(
            partial(_contained, action.function, given, state.path), abandon_on_cancel=True, limiter=limiter
        )
    except anyio.get_cancelled_exc_class():
        text = f"the thread of step {state.path!r} cannot be stopped; it was left behind and its result is dropped"
        journal.append(Warned(state.path, "thread-abandoned", text))
        raise


def fitted(action: FunctionAction, args: dict[str, Data], path: str) -> dict[str, Any]:
    """The arguments validated to the function's annotations.

    Raises:
        StepError: One does not fit.
    """
    for param in action.typed:
        name, annotation = param.name, param.annotation
        if name not in args:
            continue
        value = args[name]
        if annotation in _SIMPLE and type(value) is annotation:
            continue
        try:
            args[name] = validate(annotation, value)
        except ValueError as error:
            raise StepError(
                f"Step {path!r} takes {name!r} as {describe(annotation)}, but was given what does not fit: {error}",
                step=path,
            ) from None
    return args
