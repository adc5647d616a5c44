"""Described workflows: built with the public API, and drawn by hypothesis."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from llmorch import Default, Payload, Workflow, each, first_n, first_of, optional, step
from llmorch.errors import BadRequest
from llmorch.requests import ProviderRequest
from tests.flow.described import (
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
    Opt,
    Ref,
    Step,
    When,
    answer,
)

# Building the real thing

Pace = Callable[[], Awaitable[None]]


def build(flow: Flow, pace: Pace, *, name: str = "top") -> Workflow[Any]:
    """The workflow that the description describes; `pace` waits a little before each answer of an async function."""
    wf: Workflow[Any] = Workflow(name, on_error=flow.on_error)
    refs: dict[str, Any] = {}
    for given, default in flow.inputs.items():
        refs[given] = wf.input(given, Any) if default is REQUIRED else wf.input(given, Any, default=default)
    for one in flow.steps:
        # A prompt's variable that has a step's own name binds to it without being told.
        bindings = {key: _bound(arg, refs) for key, arg in one.bindings.items() if arg != Ref(key)}
        options: dict[str, Any] = {"name": one.name, "after": tuple(refs[before] for before in one.after)}
        if one.when is not None:
            options["when"] = _bound(one.when.refs[0], refs) if one.when.form == "ref" else str(one.when)[1:-1]
        if one.on_error is not None:
            options["on_error"] = Default(one.on_error.value) if isinstance(one.on_error, Dflt) else one.on_error
        action = _action(one, pace)
        if one.is_map:
            refs[one.name] = wf.map(action, concurrency=one.concurrency, **options, **bindings)
        else:
            refs[one.name] = wf.add(action, **options, **bindings)
    return wf.returns(_bound(flow.output, refs))


def provider_script(flow: Flow, pace: Pace) -> dict[str, object]:
    """What a `ScriptedProvider` needs to answer the prompts of the workflow."""
    leaves = {leaf.tag: leaf for leaf in _leaves(flow)}

    async def respond(request: ProviderRequest) -> object:
        await pace()
        text = request.messages[-1].text
        try:
            return answer(leaves[text.partition(" ")[0]], f"{request.step}|{text}")
        except Failed as failed:
            raise BadRequest(str(failed)) from None

    return {"*": respond}


def _leaves(flow: Flow) -> list[Leaf]:
    found: list[Leaf] = []
    for one in flow.steps:
        found += _leaves(one.action) if isinstance(one.action, Flow) else [one.action]
    return found


def template(leaf: Leaf, variables: Mapping[str, Any]) -> str:
    return f"{leaf.tag} " + " ".join(f"{name}=[{{{{ {name} }}}}]" for name in variables)


def _bound(arg: Arg, refs: Mapping[str, Any]) -> Any:
    match arg:
        case Lit(value):
            return value
        case Ref(name, path):
            ref = refs[name]
            for key in path:
                ref = ref[key]
            return ref
        case FirstOf(several):
            return first_of(*(_bound(one, refs) for one in several))
        case FirstN(several, n):
            return first_n([_bound(one, refs) for one in several], n)
        case Opt(inner, default):
            return optional(_bound(inner, refs), default=default)
        case ListOf(parts):
            return [_bound(part, refs) for part in parts]
        case DictOf(parts):
            return {key: _bound(part, refs) for key, part in parts.items()}
        case Each(source):
            return each(_bound(source, refs))


def _action(one: Step, pace: Pace) -> Any:
    if isinstance(one.action, Flow):
        return build(one.action, pace, name=f"flow-{one.name}")
    if one.action.how == "prompt":
        output = list[int] if one.action.kind == "list" else str
        return Payload(f"payload-{one.action.tag}", template(one.action, one.bindings), output=output)
    return _function(one.action, len(one.bindings), pace)


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


# Drawing

_LITERALS = ("x", "{{ 7*7 }}", 3, None, [1, "zwölf"], {"k": [True]})
_DEFAULTS: dict[str, Any] = {"int": 0, "list": [7], "dict": {"k": 1, "l": [1]}, "bool": False}


class _Maker:
    """Draws one workflow; knows what each name in reach gives and under which policy."""

    def __init__(self, draw: Any, numbers: list[int], depth: int) -> None:
        self.draw, self.numbers, self.depth = draw, numbers, depth
        self.kinds: dict[str, Kind] = {}
        self.policies: dict[str, object] = {}

    def one_of(self, choices: Any) -> Any:
        return self.draw(st.sampled_from(list(choices)))

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(1, 100)) <= percent)

    def fresh(self, letter: str) -> str:
        self.numbers[0] += 1
        return f"{letter}{self.numbers[0]}"

    def flow(self, inputs: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Flow:
        self.kinds = dict(kinds)
        on_error = self.one_of(("fail", "skip"))
        count = self.draw(st.integers(3, 9) if self.depth == 0 else st.integers(1, 3))
        steps = tuple(self.step(on_error) for _ in range(count))
        return Flow(inputs, steps, self.output(), on_error)

    def step(self, on_error: str) -> Step:
        name = self.fresh("s")
        policy = self.one_of((None, None, None, "fail", "skip", "skip", Dflt))
        is_map = self.chance(25)
        risky: Ref | None = None if is_map or not self.chance(8) else self.risky()
        nested = self.depth < 2 and risky is None and self.chance(20)
        if nested:
            bindings, inputs, kinds = self.into_nested(is_map)
            action: Leaf | Flow = _Maker(self.draw, self.numbers, self.depth + 1).flow(inputs, kinds)
            kind: Kind = "any"
        else:
            action = self.leaf()
            kind = action.kind
            bindings = self.bindings(action, is_map) if risky is None else {"a": risky}
        if policy is Dflt:
            policy = Dflt(None if is_map and self.chance(30) else _DEFAULTS.get(kind, "d"))
        after = (
            self.draw(st.lists(st.sampled_from(list(self.policies)), max_size=2, unique=True)) if self.policies else []
        )
        when = self.when() if risky is None and self.kinds and self.chance(25) else None
        self.kinds[name] = "list" if is_map else kind
        self.policies[name] = policy or on_error
        concurrency = self.one_of((None, None, 1, 2)) if is_map else None
        return Step(name, action, bindings, tuple(after) if self.chance(25) else (), when, policy, is_map, concurrency)

    def leaf(self) -> Leaf:
        how = self.one_of(("prompt", "prompt", "async", "async", "sync", "inline"))
        kind = self.one_of(
            ("text", "list") if how == "prompt" else ("text", "int", "list", "list", "dict", "dict", "bool")
        )
        return Leaf(how, self.fresh("t"), kind, self.one_of((0, 0, 0, 0, 0, 0, 4, 2, 1)))

    def bindings(self, leaf: Leaf, is_map: bool) -> dict[str, Arg]:
        args = [self.arg() for _ in range(self.draw(st.integers(0, 2 if is_map else 3)))]
        args += [self.each()] if is_map else []
        args += [self.each()] if is_map and len(args) < 3 and self.chance(20) else []
        named = {"abc"[index]: arg for index, arg in enumerate(args)}
        if leaf.how == "prompt":
            named = {arg.name if isinstance(arg, Ref) and not arg.path and self.chance(50) else key: arg
                     for key, arg in named.items()}  # fmt: skip
        return named

    def into_nested(self, is_map: bool) -> tuple[dict[str, Arg], dict[str, Any], dict[str, Kind]]:
        bindings: dict[str, Arg] = {}
        inputs: dict[str, Any] = {}
        kinds: dict[str, Kind] = {}
        for index in range(self.draw(st.integers(1, 2))):
            name = self.fresh("q")
            inputs[name] = REQUIRED
            if is_map and index == 0:
                bindings[name] = self.each()
            elif self.chance(15):
                inputs[name] = self.one_of(_LITERALS)
            else:
                bindings[name] = self.arg()
            bound = bindings.get(name)
            kinds[name] = self.kinds[bound.name] if isinstance(bound, Ref) and not bound.path else "any"
        return bindings, inputs, kinds

    def arg(self) -> Arg:
        if not self.kinds or self.chance(12):
            return Lit(self.one_of(_LITERALS))
        form = self.one_of(("ref",) * 6 + ("optional", "optional", "first_of", "first_n", "list", "dict"))
        if form == "list":
            return ListOf(tuple(self.part() for _ in range(self.draw(st.integers(0, 3)))))
        if form == "dict":
            return DictOf({key: self.part() for key in "uv"[: self.draw(st.integers(0, 2))]})
        if form == "optional":
            return Opt(self.choice(self.one_of(("ref", "ref", "first_of", "first_n"))), self.one_of(_LITERALS))
        return self.choice(form)

    def part(self) -> Arg:
        if self.chance(20):
            return Lit(self.one_of(_LITERALS))
        return Opt(self.ref(), self.one_of(_LITERALS)) if self.chance(30) else self.ref()

    def choice(self, form: str) -> Ref | FirstOf | FirstN:
        if form == "first_n" and (chosen := self.first_n()) is not None:
            return chosen
        if form == "first_of" and len(self.policies) > 1:
            several = self.draw(st.lists(st.sampled_from(list(self.policies)), min_size=2, max_size=3, unique=True))
            return FirstOf(tuple(Ref(name) for name in several))
        return self.ref()

    def first_n(self) -> FirstN | None:
        allowed = [name for name, policy in self.policies.items() if policy != "fail"]
        if len(allowed) < 2:
            return None
        names = self.draw(st.lists(st.sampled_from(allowed), min_size=2, max_size=4, unique=True))
        return FirstN(tuple(Ref(name) for name in names), self.draw(st.integers(1, len(names))))

    def ref(self) -> Ref:
        name = self.one_of(list(self.kinds)[-3:] if self.chance(50) else self.kinds)  # long chains, now and then wide
        return Ref(name, self.one_of(((), ("k",), ("l",)))) if self.kinds[name] == "dict" else Ref(name)

    def risky(self) -> Ref | None:
        """A reference that may miss its key when the run reads it."""
        names = [name for name, kind in self.kinds.items() if kind == "dict"]
        return Ref(self.one_of(names), self.one_of((("l", 0), ("m",)))) if names else None

    def each(self) -> Each:
        lists: list[Lit | Ref] = [Lit([1, 2, 3]), Lit([])]
        lists += [Ref(name) for name, kind in self.kinds.items() if kind == "list"] * 3
        lists += [Ref(name, ("l",)) for name, kind in self.kinds.items() if kind == "dict"]
        lists += [Ref(name) for name, kind in self.kinds.items() if kind in ("int", "bool") and self.chance(10)]
        chosen = self.choice("first_n") if self.kinds and self.chance(8) else None
        return Each(chosen if isinstance(chosen, FirstN) else self.one_of(lists))

    def when(self) -> When:
        form = self.one_of(("ref", "ref", "name", "not", "and", "or", "over"))
        count = 2 if form in ("and", "or") else 1
        refs = tuple(self.ref() if form == "ref" else Ref(self.one_of(self.kinds)) for _ in range(count))
        return When(form, refs)

    def output(self) -> Arg:
        names = list(self.policies)
        form = self.one_of(("last", "last", "ref", "risky", "optional", "first_of", "first_n", "list", "dict"))
        if form == "list":
            return ListOf(tuple(self.output_part(names) for _ in range(self.draw(st.integers(1, 3)))))
        if form == "dict":
            return DictOf({key: self.output_part(names) for key in "uvw"[: self.draw(st.integers(1, 3))]})
        if form == "optional":
            return Opt(Ref(self.one_of(names)), self.one_of(_LITERALS))
        if form == "risky" and (risky := self.risky()) is not None and risky.name in names:
            return risky
        chosen = self.choice(form)
        if isinstance(chosen, FirstOf | FirstN):
            return chosen
        return Ref(names[-1] if form == "last" else self.one_of(names))

    def output_part(self, names: list[str]) -> Arg:
        name = Ref(self.one_of(names))
        return Opt(name, self.one_of(_LITERALS)) if self.chance(20) else name


@st.composite
def flows(draw: Any) -> Flow:
    """Workflows of 3 to 9 steps, nested at most twice, whose required inputs are `p` (list) and `q` (number)."""
    return _Maker(draw, [0], 0).flow(
        {"p": REQUIRED, "q": REQUIRED, "r": "spare"}, {"p": "list", "q": "int", "r": "text"}
    )
