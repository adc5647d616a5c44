"""Described workflows as real ones: built with the public API, and what answers their prompts and questions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

from llmorch import Default, Payload, Question, Script, StepWaiting, Workflow, each, first_n, first_of, optional, step
from llmorch.errors import BadRequest
from llmorch.requests import ProviderRequest
from tests.flow.described import (
    CHOICE,
    REQUIRED,
    Arg,
    Dflt,
    DictOf,
    Each,
    Failed,
    FirstN,
    FirstOf,
    Flow,
    Kind,
    Leaf,
    ListOf,
    Lit,
    Loop,
    Opt,
    Pick,
    Ref,
    Rule,
    Step,
    When,
    answer,
    leaves,
)

Pace = Callable[[], Awaitable[None]]
SCRIPTS = Path(__file__).with_name("scripts")
_ANSWERS: dict[Kind, Any] = {"int": int, "bool": bool, "list": list[int], "word": Literal["x", "y", "z"]}
_UNANSWERED_S = 0.001  # whoever waits for the run looks for its end 20 times a second, of virtual time too


def build(flow: Flow, pace: Pace, *, name: str = "top") -> Workflow[Any]:
    """The workflow that the description describes; `pace` waits a little before each answer of an async function."""
    wf: Workflow[Any] = Workflow(name, on_error=flow.on_error)
    refs: dict[str, Any] = {}
    for given, default in flow.inputs.items():
        refs[given] = wf.input(given, Any) if default is REQUIRED else wf.input(given, Any, default=default)
    for one in flow.steps:
        refs[one.name] = _added(wf, one, refs, pace)
    return wf.returns(_bound(flow.output, refs))


def _added(wf: Workflow[Any], one: Step, refs: Mapping[str, Any], pace: Pace) -> Any:
    # A prompt's variable that has a step's own name binds to it without being told.
    bindings = {key: _bound(arg, refs) for key, arg in one.bindings.items() if arg != Ref(key) and key != CHOICE}
    options: dict[str, Any] = {"name": one.name, "after": tuple(refs[before] for before in one.after)}
    if one.when is not None:
        options["when"] = _bound(one.when.refs[0], refs) if one.when.form == "ref" else _expression(one.when)
    if one.on_error is not None:
        options["on_error"] = Default(one.on_error.value) if isinstance(one.on_error, Dflt) else one.on_error
    names = tuple(one.bindings)
    match one.action:
        case Loop(body, until, most, carry, exhausted):
            rules = {name: _rule(rule) for name, rule in carry.items()}
            return wf.loop(
                _action(body, names, pace), until=_rule(until), max_iterations=most, carry=rules or None,
                on_exhausted=exhausted, **options, **bindings,
            )  # fmt: skip
        case Pick(branches, otherwise):
            among = {key: _action(branch.action, branch.reads, pace) for key, branch in branches.items()}
            last = None if otherwise is None else _action(otherwise.action, otherwise.reads, pace)
            return wf.dispatch(_bound(one.bindings[CHOICE], refs), among=among, otherwise=last, **options, **bindings)
        case Leaf(how="ask") as leaf if not one.is_map:
            options["timeout"] = _UNANSWERED_S if leaf.fails else None
            asked = options.pop("name"), template(leaf, names)
            return wf.ask(*asked, answer=_ANSWERS.get(leaf.kind, str), **options, **bindings)
        case _ as action if one.is_map:
            return wf.map(_action(action, names, pace), concurrency=one.concurrency, **options, **bindings)
        case _ as action:
            return wf.add(_action(action, names, pace), **options, **bindings)


def _expression(when: When) -> str:
    return str(when)[1:-1]


def _rule(rule: Rule) -> Any:
    if not rule.as_function:
        return rule.expression

    def asked(output: Any, inputs: dict[str, Any], iteration: int) -> Any:
        return rule.value(output, inputs, iteration)

    return asked


def provider_script(flow: Flow, pace: Pace) -> dict[str, object]:
    """What a `ScriptedProvider` needs to answer the prompts of the workflow."""
    known = {leaf.tag: leaf for leaf in leaves(flow)}

    async def respond(request: ProviderRequest) -> object:
        await pace()
        try:
            return _answered(known, request.step or "", request.messages[-1].text)
        except Failed as failed:
            raise BadRequest(str(failed)) from None

    return {"*": respond}


def person(flow: Flow) -> Callable[[StepWaiting], Any]:
    """Somebody who answers the questions of the workflow, but gives None to those that nobody shall answer."""
    known = {leaf.tag: leaf for leaf in leaves(flow)}

    def respond(question: StepWaiting) -> Any:
        try:
            return _answered(known, question.step, question.question)
        except Failed:
            return None

    return respond


def _answered(known: Mapping[str, Leaf], step: str, text: str) -> Any:
    return answer(known[text.partition(" ")[0]], f"{step}|{text}")


def template(leaf: Leaf, variables: Sequence[str]) -> str:
    return f"{leaf.tag} " + " ".join(f"{name}=[{{{{ {name} }}}}]" for name in variables)


def _bound(arg: Arg, refs: Mapping[str, Any]) -> Any:
    match arg:
        case Lit(value):
            return value
        case Ref(name, path):
            return reduce(getitem, path, refs[name])
        case FirstOf(several):
            return first_of(*(_bound(one, refs) for one in several))
        case FirstN(several, n):
            return first_n([_bound(one, refs) for one in several], n)
        case Opt(inner, default):
            return optional(_bound(inner, refs), default=default)
        case ListOf(parts):
            return [_bound(part, refs) for part in parts]
        case DictOf(parts):
            return dict(zip(parts, _bound(ListOf(tuple(parts.values())), refs), strict=True))
        case Each(source):
            return each(_bound(source, refs))
        case When():
            return _expression(arg)


def _action(action: Leaf | Flow, names: Sequence[str], pace: Pace) -> Any:
    if isinstance(action, Flow):
        return build(action, pace, name="flow")
    if action.how == "prompt":
        output = list[int] if action.kind == "list" else str
        return Payload(f"payload-{action.tag}", template(action, names), output=output)
    if action.how == "ask":
        return Question(template(action, names), answer=_ANSWERS.get(action.kind, str), name=f"ask-{action.tag}")
    if action.how == "script":
        return Script(SCRIPTS / "answer.py", parameters={"tag": action.tag, "kind": action.kind, "fails": action.fails})
    return _function(action, len(names), pace)


def _function(leaf: Leaf, arity: int, pace: Pace) -> Callable[..., Any]:
    def compute(*values: Any) -> Any:
        seen = json.dumps(values)
        for value in values:
            if isinstance(value, list):
                value.append("spoilt")  # each reader has its own copy, so nobody else may see this
        return answer(leaf, seen)

    if leaf.how == "async":
        return _async_function(compute, arity, pace)

    def zero() -> Any:
        return compute()

    def one(a: Any) -> Any:
        return compute(a)

    def two(a: Any, b: Any) -> Any:
        return compute(a, b)

    def three(a: Any, b: Any, c: Any) -> Any:
        return compute(a, b, c)

    function = (zero, one, two, three)[arity]
    return step(inline=True)(function) if leaf.how == "inline" else function


def _async_function(compute: Callable[..., Any], arity: int, pace: Pace) -> Callable[..., Any]:
    async def zero() -> Any:
        await pace()
        return compute()

    async def one(a: Any) -> Any:
        await pace()
        return compute(a)

    async def two(a: Any, b: Any) -> Any:
        await pace()
        return compute(a, b)

    async def three(a: Any, b: Any, c: Any) -> Any:
        await pace()
        return compute(a, b, c)

    return (zero, one, two, three)[arity]
