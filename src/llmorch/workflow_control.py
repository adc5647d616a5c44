"""The verbs of `Workflow` for control flow that is decided while it runs: loops, dispatch, questions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast, get_origin, overload

from . import edits
from .definition.actions import (
    CHOICE,
    DispatchAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
)
from .definition.functions import function_action
from .definition.loop_rules import rule_of
from .definition.node import Filled, FirstN, FirstOf, Node, Optional, Ref
from .definition.workflow import OnUnknown, WorkflowDef
from .edits import OnErrorArg, Placed
from .models.action import Action
from .models.payload import Payload
from .models.question import Question
from .models.script import Script

__all__ = ["ControlVerbs", "placed"]

U = TypeVar("U")
Choice = str | Ref[Any] | FirstOf | FirstN | Optional


class ControlVerbs:
    """Loops, dispatch and questions.

    Example:
        >>> wf = Workflow("w")
        >>> wf.ask("publish", "Publish {{ title }}?", answer=bool).name
        'publish'
    """

    def _put(self, placed: Placed, options: edits.Placing) -> Node[Any]:
        """Place the step; `Workflow` says how."""
        raise AttributeError("a workflow places steps")

    # fmt: off
    @overload
    def loop(
        self, body: Action[U], /, *, until: str | Callable[..., Any], max_iterations: int,
        carry: Mapping[str, str | Callable[..., Any]] | None = None, on_exhausted: Literal["keep", "fail"] = "keep",
        name: str | None = None, after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None,
        on_error: OnErrorArg = None, timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    @overload
    def loop(
        self, body: Callable[..., Awaitable[U]], /, *, until: str | Callable[..., Any], max_iterations: int,
        carry: Mapping[str, str | Callable[..., Any]] | None = None, on_exhausted: Literal["keep", "fail"] = "keep",
        name: str | None = None, after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None,
        on_error: OnErrorArg = None, timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    @overload
    def loop(
        self, body: Callable[..., U], /, *, until: str | Callable[..., Any], max_iterations: int,
        carry: Mapping[str, str | Callable[..., Any]] | None = None, on_exhausted: Literal["keep", "fail"] = "keep",
        name: str | None = None, after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None,
        on_error: OnErrorArg = None, timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    def loop(
        self, body: Any, /, *, until: str | Callable[..., Any], max_iterations: int,
        carry: Mapping[str, str | Callable[..., Any]] | None = None, on_exhausted: Literal["keep", "fail"] = "keep",
        name: str | None = None, after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None,
        on_error: OnErrorArg = None, timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[Any]:
        """Repeat an action until something holds; the value is the last output.

        `until` and `carry` are expressions, or plain functions, over `output` (of the iteration that has just ended),
        `inputs` (what it was run with) and `iteration` (counted from 0). They are asked once; what they say is
        recorded. The other options are those of `add`.

        Args:
            body: What is repeated: a Payload, Workflow, Script, Question or function.
            until: Ends the loop when it is true.
            max_iterations: How often the body is run at most.
            carry: Input of the body -> its value in the next iteration; an input that is not carried keeps its value.
            on_exhausted: What it means that `max_iterations` did not suffice: `keep` the last output, or `fail`.

        Raises:
            TypeError: A rule is neither an expression nor a plain function.
        """
        if on_exhausted not in ("keep", "fail"):
            raise ValueError(f"loop(on_exhausted={on_exhausted!r}): it is 'keep' or 'fail'")
        if type(max_iterations) is not int:
            raise TypeError(f"loop(max_iterations={max_iterations!r}): it is a whole number")
        inner = placed(body)
        carried = tuple((key, rule_of(rule, f"carry[{key!r}]")) for key, rule in (carry or {}).items())
        action = LoopAction(inner.action, rule_of(until, "until"), max_iterations, carried, on_exhausted)
        used = frozenset(("until", "max_iterations", *(() if carry is None else ("carry",))))
        return self._put(
            Placed(action, inner.name, inner.reads, "loop", used),
            edits.Placing(
                name=name, after=after, when=when, on_error=on_error, timeout=timeout, on_unknown=on_unknown,
                bind=bind, bindings=bindings,
            ),
        )

    def dispatch(
        self, choice: Choice, /, *, among: Mapping[str, Action[Any] | Callable[..., Any]],
        otherwise: Action[Any] | Callable[..., Any] | None = None, name: str | None = None,
        after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None, on_error: OnErrorArg = None,
        timeout: float | timedelta | None = None, on_unknown: OnUnknown = "retry",
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[Any]:
        """Run one of several actions, by a choice that is made while the run goes on; the value is that of the one.

        Args:
            choice: A reference, or an expression over names, whose value is one of the keys; a number, true, false or
                null counts as its JSON text.
            among: Key -> action. Together they read what any of them reads.
            otherwise: Run when no key is the choice; without it that is a failure of the step.

        Raises:
            TypeError: The choice is neither a reference nor an expression, or a branch is no action.
        """
        if not isinstance(choice, str | Ref | FirstOf | FirstN | Optional):
            raise TypeError(
                f"dispatch() chooses by a reference or an expression, not {type(choice).__name__}; "
                "decide in Python which action to add"
            )
        branches = tuple((_key(key), placed(branch)) for key, branch in among.items())
        last = None if otherwise is None else placed(otherwise)
        action = DispatchAction(
            tuple((key, branch.action) for key, branch in branches), None if last is None else last.action
        )
        reads = {read for _, branch in branches for read in branch.reads} | set(last.reads if last is not None else ())
        given = Filled(f"{{{{ {choice} }}}}", ()) if isinstance(choice, str) else choice
        return self._put(
            Placed(action, "dispatch", reads, "dispatch", frozenset({"among"})),
            edits.Placing(
                name=name, after=after, when=when, on_error=on_error, timeout=timeout, on_unknown=on_unknown,
                bind=bind, bindings={**bindings, CHOICE: given},
            ),
        )

    @overload
    def ask(  # pyright: ignore[reportOverlappingOverload]  # a binding may be called anything, `answer` too
        self, name: str, text: str, /, *, answer: type[U], after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[U]: ...
    @overload
    def ask(
        self, name: str, text: str, /, *, answer: Any, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[Any]: ...
    @overload
    def ask(  # pyright: ignore[reportOverlappingOverload]  # as above
        self, name: str, text: str, /, *, after: Iterable[Ref[Any] | str] = (), when: str | Ref[Any] | None = None,
        on_error: OnErrorArg = None, timeout: float | timedelta | None = None, bind: Mapping[str, Any] | None = None,
        **bindings: Any,
    ) -> Node[str]: ...
    def ask(
        self, name: str, text: str, /, *, answer: Any = str, after: Iterable[Ref[Any] | str] = (),
        when: str | Ref[Any] | None = None, on_error: OnErrorArg = None, timeout: float | timedelta | None = None,
        bind: Mapping[str, Any] | None = None, **bindings: Any,
    ) -> Node[Any]:
        """Ask a person: `add(Question(text, answer=answer), name=name)`.

        Args:
            text: A template; what it names is read as for a payload.
            answer: What the answer must be; see `Question`.
            timeout: Seconds from the moment it is asked; then it fails, and `on_error=Default(v)` answers it.
        """
        wanted = bindings.get("output")
        if isinstance(wanted, type) or get_origin(wanted) is not None:
            raise TypeError(f"ask({name!r}, output=...) is how a Payload says it; the type of an answer is answer=...")
        asked: Question[Any] = Question(text, answer=answer, name=name)
        return self._put(
            placed(asked),
            edits.Placing(
                name=name, after=after, when=when, on_error=on_error, timeout=timeout, on_unknown="retry", bind=bind,
                bindings=bindings,
            ),
        )
    # fmt: on


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"key {key!r} of among={{...}} is no text; write {json.dumps(key, default=str)!r}")


def placed(action: Any) -> Placed:  # Any: whatever somebody takes for an action
    """The action as a definition has it, with its own name and what it reads.

    Raises:
        TypeError: It is no action.
    """
    if isinstance(action, Payload):
        payload = cast("Payload[Any]", action)
        return Placed(PayloadAction(payload), payload.name, payload.variables)
    if isinstance(action, Question):
        question = cast("Question[Any]", action)
        return Placed(QuestionAction(question), question.name or "question", question.variables)
    if isinstance(action, Script):
        return Placed(ScriptAction(action), action.name, ("input",))
    freeze = getattr(action, "freeze", None)
    if isinstance(action, Action) and freeze is not None:
        definition: WorkflowDef = freeze()
        return Placed(WorkflowAction(definition), definition.name, definition.inputs.keys())
    given = cast(object, action)
    if callable(given) and not isinstance(given, Ref):
        function = function_action(given)
        name = getattr(given, "__name__", type(given).__name__)
        return Placed(function, name, {param.name for param in function.params})
    kind = type(cast(object, action)).__name__
    raise TypeError(f"a step is a Payload, Workflow, Script, Question or Python function, not {kind}")
