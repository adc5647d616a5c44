"""Described workflows drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.flow.described import (
    CHOICE,
    REQUIRED,
    Arg,
    Branch,
    Dflt,
    DictOf,
    Each,
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
)

_LITERALS = ("x", "{{ 7*7 }}", 3, None, [1, "zwölf"], {"k": [True]})
_DEFAULTS: dict[str, Any] = {"int": 0, "list": [7], "dict": {"k": 1, "l": [1]}, "bool": False, "word": "x"}
_FORMS = ("add",) * 9 + ("map",) * 4 + ("loop",) * 3 + ("pick",) * 3
_LEAVES = ("prompt", "prompt", "ask", "async", "async", "sync", "inline")
_KINDS: dict[str, tuple[Kind, ...]] = {
    "prompt": ("text", "list", "word"), "ask": ("text", "int", "list", "bool", "word"), "script": ("text", "dict"),
}  # fmt: skip
_KEYS: dict[Kind, tuple[str, ...]] = {
    "word": ("x", "y", "z"), "bool": ("true", "false"), "int": ("0", "1", "2", "3", "4"),
}  # fmt: skip


class _Maker:
    """Draws one workflow; knows what each name in reach gives and under which policy."""

    def __init__(self, draw: Any, numbers: list[int], depth: int, *, leaves: tuple[str, ...]) -> None:
        self.draw, self.numbers, self.depth, self.leaves = draw, numbers, depth, leaves
        self.kinds: dict[str, Kind] = {}
        self.policies: dict[str, object] = {}
        self.told: set[str] = set()  # names of which a plan knows the type, and refuses what does not fit

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
        risky = self.risky() if self.chance(6) else None
        form = "add" if risky is not None else self.one_of(_FORMS)
        is_map = form == "map"
        if risky is not None:
            leaf = self.leaf(is_alone=True)
            action: Leaf | Flow | Loop | Pick = leaf
            bindings: dict[str, Arg] = {"a": risky}
            kind = leaf.kind
        elif form == "loop":
            action, bindings, kind = self.loop()
        elif form == "pick":
            action, bindings, kind = self.pick()
        else:
            action, bindings, kind = self.inner(is_map=is_map, is_alone=not is_map)
        if policy is Dflt:
            policy = Dflt(None if is_map and self.chance(30) else _DEFAULTS.get(kind, "d"))
        after = (
            self.draw(st.lists(st.sampled_from(list(self.policies)), max_size=2, unique=True)) if self.policies else []
        )
        when = self.when() if risky is None and self.kinds and self.chance(25) else None
        self.kinds[name] = "list" if is_map else kind
        if not isinstance(action, Flow | Leaf) or (isinstance(action, Leaf) and action.how == "ask"):
            self.told.add(name)
        self.policies[name] = policy or on_error
        concurrency = self.one_of((None, None, 1, 2)) if is_map else None
        return Step(name, action, bindings, tuple(after) if self.chance(25) else (), when, policy, is_map, concurrency)

    def inner(self, *, is_map: bool = False, is_alone: bool = False) -> tuple[Leaf | Flow, dict[str, Arg], Kind]:
        """What a step runs itself, for each item or iteration, or as a branch; what that reads, and what it gives."""
        if self.depth < 2 and self.chance(20):
            bindings, inputs, kinds = self.into_nested(is_map)
            nested = _Maker(self.draw, self.numbers, self.depth + 1, leaves=self.leaves)
            return nested.flow(inputs, kinds), bindings, "any"
        leaf = self.leaf(is_alone=is_alone)
        return leaf, self.bindings(leaf, is_map), leaf.kind

    def leaf(self, *, is_alone: bool) -> Leaf:
        """A leaf; only where it is a step of its own may a question stay without an answer."""
        how = self.one_of(self.leaves)
        kind = self.one_of(_KINDS.get(how, ("text", "int", "list", "list", "dict", "dict", "bool", "word")))
        rates = (
            (0, 0, 0, 0, 0, 1) if how == "ask" and is_alone else (0,) if how == "ask" else (0, 0, 0, 0, 0, 0, 4, 2, 1)
        )
        fails = self.one_of(rates)
        return Leaf(how, self.fresh("t"), kind, fails)

    def loop(self) -> tuple[Loop, dict[str, Arg], Kind]:
        body, bindings, kind = self.inner()
        names = list(body.inputs) if isinstance(body, Flow) else list(bindings)
        most = self.one_of((3, 2, 4, 1)) if names else 1
        carried = self.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)) if names else []
        is_any = isinstance(body, Leaf) and body.how in ("async", "sync", "inline")
        carry = {name: self.carried(name, names, kind, is_any=is_any) for name in carried}
        until = self.until(kind, is_any=is_any)
        return Loop(body, until, most, carry, self.one_of(("keep", "keep", "fail"))), bindings, kind

    def until(self, kind: Kind, *, is_any: bool) -> Rule:
        """A rule that may fail only where no plan can tell from the type of the output that it will."""
        forms = ["turn"] * 4 + ["output"] * (kind != "text") + ["over"] * 2 * (kind in ("int", "bool"))
        forms += ["key"] * (kind == "dict")
        form = self.one_of(("over", "key")) if is_any and self.chance(5) else self.one_of(forms)
        return Rule(form, self.one_of((1, 2, 3, 4, 0)), as_function=self.chance(30))

    def carried(self, name: str, names: list[str], kind: Kind, *, is_any: bool) -> Rule:
        others = [other for other in names if other != name]
        forms = ["pair", "output", "count"] + ["input"] * bool(others) + ["key"] * (kind == "dict")
        form = "key" if is_any and self.chance(4) else self.one_of(forms)
        source = self.one_of(others) if form == "input" else name
        return Rule(form, name=source, as_function=self.chance(30))

    def pick(self) -> tuple[Pick, dict[str, Arg], Kind]:
        choice, keys = self.choosing()
        bindings: dict[str, Arg] = {}
        kinds: set[Kind] = set()

        def branch() -> Branch:
            action, own, kind = self.inner()
            for name, arg in own.items():
                bindings.setdefault(name, arg)
            kinds.add(kind)
            return Branch(action, tuple(own))

        def whole(branch: Branch) -> Branch:
            if not (isinstance(branch.action, Leaf) and branch.action.how == "script"):
                return branch
            # What a prompt of another branch binds by its name alone comes before what is bound in words.
            return replace(branch, reads=tuple(sorted(bindings, key=lambda name: bindings[name] != Ref(name))))

        branches = {key: branch() for key in keys}
        otherwise = branch() if self.chance(60) else None
        branches = {key: whole(branch) for key, branch in branches.items()}
        otherwise = None if otherwise is None else whole(otherwise)
        return Pick(branches, otherwise), {**bindings, CHOICE: choice}, kinds.pop() if len(kinds) == 1 else "any"

    def choosing(self) -> tuple[Arg, list[str]]:
        """What a dispatch decides by, and its keys: mostly some that may come."""
        number = [name for name, kind in self.kinds.items() if kind in ("int", "bool")]
        if number and self.chance(25):
            return When(self.one_of(("not", "over")), (Ref(self.one_of(number)),)), self.some(("true", "false"))
        words = [name for name, kind in self.kinds.items() if kind in _KEYS]
        if words and self.chance(75):
            ref = Ref(self.one_of(words))
            return ref, self.some(_KEYS[self.kinds[ref.name]])
        chosen: Ref | FirstOf | FirstN | Opt = self.choice(self.one_of(("ref", "first_of", "first_n")))
        return Opt(chosen, "x") if self.chance(30) else chosen, self.some(("x", "y", "null", "3"))

    def some(self, keys: tuple[str, ...]) -> list[str]:
        return list(self.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True)))

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
        lists += [
            Ref(name)
            for name, kind in self.kinds.items()
            if kind in ("int", "bool") and name not in self.told and self.chance(10)
        ]
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
def flows(draw: Any, *, with_scripts: bool = False) -> Flow:
    """Workflows of 3 to 9 steps, nested at most twice, whose required inputs are `p` (list) and `q` (number)."""
    leaves = (*_LEAVES, "script") if with_scripts else _LEAVES
    return _Maker(draw, [0], 0, leaves=leaves).flow(
        {"p": REQUIRED, "q": REQUIRED, "r": "spare"}, {"p": "list", "q": "int", "r": "text"}
    )
