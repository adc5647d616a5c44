"""Rules about conduct: what a provider is when nobody asks it, and how calls start, stop, and live side by side."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, cast

import anyio
import anyio.lowlevel

from ..errors import LLMOrchError, TimedOut
from ..models.settings import Settings
from ..ports import Provider
from ..requests import Capabilities, ProviderRequest, ProviderStatus
from ._conformance_rule import Case, Rule, is_count, is_seconds, method, unheard
from ._suite import broken, name_of, skipped

__all__ = ["RULES"]

_STOP_S = 2.0
_BLOCKED_S = 0.2
_TRIES = 3
_AT_ONCE = 20


async def _made(case: Case) -> None:
    provider = case.provider
    if not isinstance(cast("object", provider), Provider):
        missing = [name for name in ("name", "capabilities", "complete") if not hasattr(provider, name)]
        broken(f"the factory gave {type(provider).__name__}, which has no {', '.join(missing)}")
    name = cast("object", provider.name)
    if not isinstance(name, str) or not name or ":" in name or name != name.strip():
        broken(f"its name is {name!r}; a name is text without colon and blanks around it")
    if not inspect.iscoroutinefunction(provider.complete):
        broken("complete is no async function")


async def _capabilities(case: Case) -> None:
    with _connections() as opened:
        seen = [cast("object", case.provider.capabilities(case.model)) for _ in range(2)]
        seen.append(case.provider.capabilities("llmorch-no-such-model"))
    if opened:
        broken(f"capabilities() opened a connection to {opened[0]}; it is asked while planning, which sends nothing")
    odd = next((one for one in seen if not isinstance(one, Capabilities)), None)
    if odd is not None:
        if inspect.iscoroutine(odd):
            odd.close()
        broken(f"capabilities() gave {type(odd).__name__}, not Capabilities")
    if seen[0] != seen[1]:
        broken(f"it said {seen[0]} and then {seen[1]} of the same model")
    for one in cast("list[Capabilities]", seen):
        fault = _fault_in(one)
        if fault:
            broken(fault)


def _fault_in(caps: Capabilities) -> str | None:
    for one in fields(caps):
        value = getattr(caps, one.name)
        if one.name == "unsupported":
            unknown = sorted(set(value) - set(Settings.model_fields))
            if not isinstance(value, frozenset) or unknown:
                return f"unsupported is {value!r}; it must be a frozenset of names of Settings"
        elif one.name.endswith("_tokens"):
            if value is not None and (not is_count(value) or value == 0):
                return f"{one.name} is {value!r}; it must be a positive whole number, or None when it is not known"
        elif not isinstance(value, bool):
            return f"{one.name} is {value!r}; it must be True or False"
    return None


@contextmanager
def _connections() -> Generator[list[str]]:
    """What this thread connects to meanwhile."""
    opened: list[str] = []
    own = threading.get_ident()
    real = socket.socket.connect
    is_own = "connect" in vars(socket.socket)

    def connect(self: socket.socket, address: Any) -> None:  # Any: whatever form an address has
        if threading.get_ident() == own:
            opened.append(str(address))
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]  # undone below
    try:
        yield opened
    finally:
        if is_own:
            socket.socket.connect = real  # type: ignore[method-assign]  # as it was
        else:
            del socket.socket.connect


async def _optional(case: Case) -> None:
    models, check = method(case.provider, "models"), method(case.provider, "check")
    if models is None and check is None:
        skipped("it has neither models() nor check()")
    if models is not None:
        names = await _within(case, models, "models()")
        if isinstance(names, str) or not isinstance(names, Sequence):
            broken(f"models() gave {type(names).__name__}; it must give a sequence of names")
        odd = next((name for name in cast("Sequence[object]", names) if not isinstance(name, str) or not name), None)
        if odd is not None:
            broken(f"models() holds {odd!r}; it must hold names only")
    if check is not None:
        for detailed in (False, True):
            status = await _within(case, lambda detailed=detailed: check(detailed=detailed), "check()")
            _judge(status, f"check(detailed={detailed})")


async def _within(case: Case, ask: Any, what: str) -> object:  # Any: an async method or a lambda around one
    try:
        with anyio.move_on_after(case.limit_s):
            return cast("object", await ask())
    except Exception as error:  # whatever it raises is a finding
        broken(f"{what} raised {name_of(error)}")
    broken(f"{what} did not end within {case.limit_s:g} s")


def _judge(status: object, what: str) -> None:
    if not isinstance(status, ProviderStatus):
        broken(f"{what} gave {type(status).__name__}, not a ProviderStatus")
    if status.ok is not True:
        broken(f"{what} says that it does not work: {status.detail or 'without a detail'}")
    if not isinstance(cast("object", status.detail), str):
        broken(f"{what}.detail is {status.detail!r}; it must be text")
    if status.latency is not None and not is_seconds(status.latency):
        broken(f"{what}.latency is {status.latency!r}; it must be seconds")


async def _many(case: Case) -> None:
    faults: list[str] = []

    async def one(index: int) -> None:
        text = f"Say number {index} and nothing else."
        try:
            answer = await case.tried(case.request(text), on_delta=unheard if index % 2 else None)
        except Exception as error:  # whatever it raises is a finding
            faults.append(name_of(error))
            return
        if case.echoes and answer.text != text:
            faults.append(f"the answer to {text!r} is {answer.text!r}")

    async with anyio.create_task_group() as group:
        for index in range(_AT_ONCE):
            group.start_soon(one, index)
    if faults:
        broken(f"{len(faults)} of {_AT_ONCE} calls at once failed; the first: {faults[0]}")


async def _loop_left_free(case: Case) -> None:
    gap = 0.0
    for _ in range(_TRIES):  # a machine may be busy once
        gap = await _longest_gap(case)
        if gap < _BLOCKED_S:
            return
    broken(f"nothing else could run for {gap:.2f} s while a call was under way")


async def _longest_gap(case: Case) -> float:
    gap, last, is_over = 0.0, anyio.current_time(), False

    async def tick() -> None:
        nonlocal gap, last
        while not is_over:
            await anyio.sleep(0.005)
            now = anyio.current_time()
            gap, last = max(gap, now - last), now

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await anyio.sleep(0.02)
        gap, last = 0.0, anyio.current_time()
        await case.answer(case.request())
        await anyio.lowlevel.checkpoint()
        gap, is_over = max(gap, anyio.current_time() - last), True
    return gap


async def _cancelled(case: Case) -> None:
    for delay_s in (0.0, 0.001, 0.01, 0.05):
        for stream in (False, True):
            what = f"a{' streamed' if stream else ''} call cancelled after {delay_s * 1000:g} ms"
            await _cancel_one(case, delay_s, what, stream=stream)
            await case.answer(case.request(), stream=stream, where=f"a prompt after {what}")


async def _cancel_one(case: Case, delay_s: float, what: str, *, stream: bool) -> None:
    request = case.request()
    start = anyio.current_time()
    with anyio.move_on_after(delay_s):
        try:
            await case.provider.complete(request, on_delta=unheard if stream else None)
        except Exception as error:  # a cancelled call ends with the cancellation and nothing else
            broken(f"{what} ended with {name_of(error)}")
    took = anyio.current_time() - start - delay_s
    if took > _STOP_S:
        broken(f"{what} went on for {took:.1f} s")


async def _timeout(case: Case) -> None:
    keeps_time = getattr(case.provider, "keeps_time", False)
    if not isinstance(keeps_time, bool):
        broken(f"keeps_time is {keeps_time!r}; it must be True or False")
    if not keeps_time:
        skipped("it does not say keeps_time = True, so the engine bounds its calls")
    for timeout in (0.0001, 0.02):
        for stream in (False, True):
            start = anyio.current_time()
            request = case.request(timeout=timeout)
            error = await case.refusal(request, on_delta=unheard if stream else None)
            took = anyio.current_time() - start
            if error is not None and not isinstance(error, TimedOut):
                broken(f"timeout={timeout} gave {name_of(error)}, not TimedOut")
            if took > timeout + _STOP_S:
                broken(f"a call with timeout={timeout} took {took:.1f} s")
    await case.answer(case.request(timeout=case.limit_s), where="a prompt after timed-out ones")


async def _loops(case: Case) -> None:
    which = ("first", "second")[case.loop - 1]
    for stream in (False, True):
        await case.answer(case.request(), stream=stream, where=f"on the {which} of two loops")


async def _closing(case: Case) -> None:
    aclose = method(case.provider, "aclose")
    if aclose is None:
        skipped("it has no aclose()")
    await _within(case, aclose, "aclose() before any call")
    await case.answer(case.request(), where="a prompt after aclose()")
    for what in ("aclose()", "a second aclose()"):
        await _within(case, aclose, what)
    try:
        await case.tried(ProviderRequest(case.model, case.request().messages))
    except LLMOrchError:
        pass
    except Exception as error:  # it may refuse, but in words of the tree
        broken(f"a prompt after aclose() gave {name_of(error)}, which is no error of llmorch.errors")
    await _within(case, aclose, "a last aclose()")


RULES_BEFORE = (
    Rule(
        "made",
        "The factory makes, outside any loop, a provider with a name, capabilities() and async complete().",
        "See llmorch.ports.Provider: name is what stands before the colon of a model id.",
        _made,
        after=(),
    ),
    Rule(
        "capabilities",
        "capabilities() answers at once for every model, the same each time, and sends nothing.",
        "Answer from a table in the code; leave what is not known at None.",
        _capabilities,
        after=("made",),
    ),
)

RULES = (
    Rule(
        "optional-methods",
        "models() and check(), where there are any, answer of a working server in their types.",
        "Give a list of names and a ProviderStatus, or leave the method out.",
        _optional,
    ),
    Rule(
        "many-at-once",
        "Twenty calls at once are all answered, each with its own answer.",
        "Keep nothing of a call in the provider.",
        _many,
    ),
    Rule(
        "loop-left-free",
        "While a call waits, other tasks go on.",
        "Wait with await; put a blocking client or long work into a thread (anyio.to_thread.run_sync).",
        _loop_left_free,
    ),
    Rule(
        "cancelled",
        "A cancelled call ends within 2 s by the cancellation, and the provider stays usable.",
        "Let the cancellation through: catch Exception, never BaseException, and shield only short cleanup.",
        _cancelled,
        cancels=True,
    ),
    Rule(
        "timeout",
        "With keeps_time = True, a call over request.timeout raises TimedOut.",
        "Bound the whole call and raise llmorch.errors.TimedOut, or leave keeps_time out: the engine then keeps the "
        "time.",
        _timeout,
        cancels=True,
    ),
    Rule(
        "two-loops",
        "One provider works on one event loop after another.",
        "Bind connections to the running loop (anyio.lowlevel.RunVar), not to the provider.",
        _loops,
        loops=2,
    ),
    Rule(
        "closing",
        "aclose() may come before any call and twice; a call after it works or is refused in words of the tree.",
        "Forget what was closed, and open it again when it is needed.",
        _closing,
    ),
)
