"""Rules about what stays out of sight: output, tasks, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import pickle
import sys
import threading
import warnings
from collections.abc import Generator, Iterator
from typing import Any, TextIO

import anyio
import anyio.lowlevel

from ..ports import Provider
from ..requests import ProviderRequest
from ._conformance_rule import PROMPT, Case, Rule, method, unheard
from ._suite import Broken, broken, skipped

__all__ = ["RULES", "texts_of"]

_LOOKS = 50
_LOOK_S = 0.02
_CHAIN = 10


class _Listening:
    """A text stream that notes what one thread writes and hands on the rest."""

    def __init__(self, real: TextIO, printed: list[str]) -> None:
        self._real = real
        self._printed = printed
        self._own = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._own:
            return self._real.write(text)
        self._printed.append(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:  # Any: whatever else a stream has
        return getattr(self._real, name)


class _Logged(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard
        self._own = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._own and record.name != "asyncio.slow":
            self._heard.append(f"logged {record.levelname} {record.name}: {record.getMessage()[:200]}")


@contextlib.contextmanager
def _listening() -> Generator[list[str]]:
    """What this thread prints, logs at WARNING or higher, and leaves unclosed."""
    heard: list[str] = []
    printed: list[str] = []
    own = threading.get_ident()
    handler = _Logged(heard)
    root = logging.getLogger()

    def warned(message: object, category: type[Warning], *_: object, **__: object) -> None:
        if threading.get_ident() == own:
            heard.append(f"warned {category.__name__}: {str(message)[:200]}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ResourceWarning)
        warnings.filterwarnings("always", message=".* was never awaited", category=RuntimeWarning)
        warnings.showwarning = warned  # catch_warnings puts the old one back
        root.addHandler(handler)
        out, err = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Listening(out, printed), _Listening(err, printed)
        try:
            yield heard
        finally:
            sys.stdout, sys.stderr = out, err
            text = "".join(printed).strip()
            if text:
                heard.append(f"printed {text.splitlines()[0][:200]!r}")
            root.removeHandler(handler)


async def _quiet(case: Case) -> None:
    with _listening() as heard:
        await case.answer(case.request())
        await case.answer(case.request(), stream=True)
        with contextlib.suppress(Exception, Broken):  # what it raises is another rule's business
            await case.tried(ProviderRequest("llmorch-no-such-model", PROMPT))
        await case.close()
        await anyio.lowlevel.checkpoint()
        gc.collect()
    if heard:
        broken(f"it {heard[0]}{f' (and {len(heard) - 1} more)' if len(heard) > 1 else ''}")


async def _no_tasks_left(case: Case) -> None:
    before = _tasks()
    for stream in (False, True):
        await case.answer(case.request(), stream=stream)
        with anyio.move_on_after(0.001):
            await case.provider.complete(case.request(), on_delta=unheard if stream else None)
    await case.close()
    left = _tasks() - before
    for _ in range(_LOOKS):
        if not left:
            return
        await anyio.sleep(_LOOK_S)
        left = _tasks() - before
    broken(f"{len(left)} task(s) live on after aclose(): {', '.join(sorted(_name(task) for task in left))[:300]}")


def _tasks() -> set[Any]:  # Any: tasks of either backend
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        return set(asyncio.all_tasks())
    found: set[Any] = set()
    todo: list[Any] = [trio.lowlevel.current_root_task()]
    while todo:
        task = todo.pop()
        found.add(task)
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def _name(task: Any) -> str:  # Any: a task of either backend
    return str(task.get_name() if isinstance(task, asyncio.Task) else task.name)


async def _secret(case: Case) -> None:
    if case.secret is None:
        skipped("no secret= was given")
    await case.answer(case.request())
    for what, text in texts_of(case.provider):
        if case.secret in text:
            broken(f"the secret stands in {what}")
    requests = {
        "an unknown model": ProviderRequest("llmorch-no-such-model", PROMPT),
        "an extra field that is no data": case.request(extra={"llmorch_probe": object()}),
        "no time at all": case.request(timeout=0.0001),
    }
    for what, request in requests.items():
        for stream in (False, True):
            await case_shows_nothing(case, request, what, stream=stream)
    status = method(case.provider, "check")
    if status is not None:
        with contextlib.suppress(Exception):  # the rule `optional-methods` reports it
            shown = repr(await status(detailed=True))
            if case.secret in shown:
                raise Broken("the secret stands in the status of check(detailed=True)")


async def case_shows_nothing(
    case: Case, request: ProviderRequest, what: str, *, stream: bool = False, provider: Provider | None = None
) -> None:
    """Send a request that may fail, and look for the secret in the error and its causes."""
    try:
        await case.tried(request, on_delta=unheard if stream else None, provider=provider)
    except Exception as error:  # any error at all may show it
        for where, text in texts_of_error(error):
            if case.secret is not None and case.secret in text:
                broken(f"the secret stands in {where} of the error for {what} ({type(error).__name__})")


def texts_of(provider: object) -> Iterator[tuple[str, str]]:
    """Where a secret could show of a provider itself."""
    yield "repr(provider)", repr(provider)
    yield "str(provider)", str(provider)
    names = [*getattr(provider, "__dict__", {}), *getattr(type(provider), "__slots__", ())]
    for name in names:
        yield f"the provider's attribute {name!r}", repr(getattr(provider, name, None))
    yield "the pickled provider", _pickled(provider)


def texts_of_error(error: BaseException) -> Iterator[tuple[str, str]]:
    """Where a secret could show of an error and what stands behind it."""
    todo: list[tuple[str, BaseException | None]] = [("the", error)]
    for _ in range(_CHAIN):
        if not todo:
            return
        whose, one = todo.pop(0)
        if one is None:
            continue
        yield f"{whose} text", f"{one} {one!r} {one.args!r}"
        yield f"{whose} attributes", repr(vars(one))
        yield f"{whose} pickled form", _pickled(one)
        todo += [("the cause's", one.__cause__), ("the context's", one.__context__)]


def _pickled(thing: object) -> str:
    try:
        return pickle.dumps(thing).decode("latin-1")
    except Exception:  # what cannot be pickled shows nothing there
        return ""


RULES = (
    Rule(
        "quiet",
        "Nothing is printed, logged at WARNING or left unclosed.",
        "Raise what is wrong; log below WARNING; close what you open.",
        _quiet,
    ),
    Rule(
        "no-tasks-left",
        "After aclose() no task of the provider lives on.",
        "Start tasks in a task group that ends with the call, or end them in aclose().",
        _no_tasks_left,
        cancels=True,
    ),
    Rule(
        "secret",
        "No repr, attribute, error or pickle shows the secret.",
        "Keep a key as llmorch.ports.Secret, write your own __repr__, and take the key out of a server's words before "
        "quoting them.",
        _secret,
        cancels=True,
    ),
)
