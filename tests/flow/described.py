"""Descriptions of workflows: what one is and nothing of how it runs.

What the steps answer is a pure function of what they see (`answer`), so that an engine and an interpreter that never
met must agree.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "int", "list", "dict", "bool", "word", "any"]
REQUIRED = object()
CHOICE = "?"
"""The binding that decides which branch of a `Pick` is taken."""


class Failed(Exception):
    """A step's answer is a failure."""


@dataclass(frozen=True)
class Lit:
    value: Any

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Ref:
    name: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f"[{key!r}]" for key in self.path)


@dataclass(frozen=True)
class FirstOf:
    refs: tuple[Ref, ...]

    def __str__(self) -> str:
        return f"first_of({', '.join(map(str, self.refs))})"


@dataclass(frozen=True)
class FirstN:
    refs: tuple[Ref, ...]
    n: int

    def __str__(self) -> str:
        return f"first_n([{', '.join(map(str, self.refs))}], {self.n})"


@dataclass(frozen=True)
class Opt:
    inner: Ref | FirstOf | FirstN
    default: Any

    def __str__(self) -> str:
        return f"optional({self.inner}, {self.default!r})"


@dataclass(frozen=True)
class ListOf:
    parts: tuple[Arg, ...]

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.parts))}]"


@dataclass(frozen=True)
class DictOf:
    parts: Mapping[str, Arg]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key}: {part}" for key, part in self.parts.items()) + "}"


@dataclass(frozen=True)
class Each:
    source: Lit | Ref | FirstOf | FirstN

    def __str__(self) -> str:
        return f"each({self.source})"


@dataclass(frozen=True)
class When:
    """A condition; `ref` is a reference itself, the other forms are expressions."""

    form: Literal["ref", "name", "not", "and", "or", "over"]
    refs: tuple[Ref, ...]

    def __str__(self) -> str:
        names = [ref.name for ref in self.refs]
        match self.form:
            case "ref":
                return str(self.refs[0])
            case "not":
                return f'"not {names[0]}"'
            case "over":
                return f'"{names[0]} > 3"'
            case _:
                return '"' + f" {self.form} ".join(names) + '"'

    def holds(self, values: list[Any]) -> bool:
        """What it says of the values of its references; raises `TypeError` where they cannot be compared."""
        match self.form:
            case "not":
                return not values[0]
            case "or":
                return any(values)
            case "over":
                return bool(values[0] > 3)
            case _:
                return all(values)


Arg = Lit | Ref | FirstOf | FirstN | Opt | ListOf | DictOf | Each | When  # a condition as the choice of a `Pick`


@dataclass(frozen=True)
class Rule:
    """What a loop asks after a turn: an expression, or a function that says the same."""

    form: Literal["output", "over", "key", "turn", "count", "input", "pair"]
    number: int = 0
    name: str = ""
    as_function: bool = False

    @property
    def expression(self) -> str:
        return {
            "output": "output", "over": f"output > {self.number}", "key": "output.k", "count": "iteration",
            "turn": f"iteration >= {self.number}", "input": f"inputs.{self.name}",
            "pair": f"[inputs.{self.name}, output]",
        }[self.form]  # fmt: skip

    def __str__(self) -> str:
        return f"{'lambda: ' if self.as_function else ''}{self.expression}"

    def value(self, output: Any, inputs: Mapping[str, Any], iteration: int) -> Any:
        """What it says; raises `TypeError` or `LookupError` where it can say nothing."""
        says: dict[str, Callable[[], Any]] = {
            "output": lambda: output, "over": lambda: output > self.number, "key": lambda: output["k"],
            "turn": lambda: iteration >= self.number, "count": lambda: iteration,
            "input": lambda: inputs[self.name], "pair": lambda: [inputs[self.name], output],
        }  # fmt: skip
        return says[self.form]()


@dataclass(frozen=True)
class Dflt:
    value: Any

    def __str__(self) -> str:
        return f"Default({self.value!r})"


@dataclass(frozen=True)
class Leaf:
    """A prompt, question, function or script; of the answers one in `fails` is a failure (0: none)."""

    how: Literal["prompt", "ask", "async", "sync", "inline", "script"]
    tag: str
    kind: Kind
    fails: int

    def __str__(self) -> str:
        return f"{self.how} {self.tag} -> {self.kind}" + (f", fails 1/{self.fails}" if self.fails else "")


@dataclass(frozen=True)
class Loop:
    body: Leaf | Flow
    until: Rule
    most: int
    carry: Mapping[str, Rule] = field(default_factory=dict[str, Rule])
    on_exhausted: Literal["keep", "fail"] = "keep"

    def __str__(self) -> str:
        carry = ", ".join(f"{name}: {rule}" for name, rule in self.carry.items())
        return f"loop until {self.until}, {self.most} times, carry {{{carry}}}, exhausted {self.on_exhausted}"


@dataclass(frozen=True)
class Branch:
    """What a `Pick` may run, and which of its bindings are for it."""

    action: Leaf | Flow
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pick:
    """One of several actions: that whose key is the choice, which stands among the bindings as `CHOICE`."""

    branches: Mapping[str, Branch]
    otherwise: Branch | None = None

    def __str__(self) -> str:
        return f"dispatch among {', '.join(self.branches)}{', else otherwise' if self.otherwise else ''}"


@dataclass(frozen=True)
class Step:
    name: str
    action: Leaf | Flow | Loop | Pick
    bindings: Mapping[str, Arg] = field(default_factory=dict[str, Arg])
    after: tuple[str, ...] = ()
    when: When | None = None
    on_error: Literal["fail", "skip"] | Dflt | None = None
    is_map: bool = False
    concurrency: int | None = None


@dataclass(frozen=True)
class Flow:
    inputs: Mapping[str, Any]
    steps: tuple[Step, ...]
    output: Arg
    on_error: Literal["fail", "skip"] = "fail"

    def __str__(self) -> str:
        return "\n" + "\n".join(told(self))

    __repr__ = __str__


def told(flow: Flow) -> list[str]:
    """The description as text, a line for each step."""
    inputs = ", ".join(name if given is REQUIRED else f"{name}={given!r}" for name, given in flow.inputs.items())
    lines = [f"inputs({inputs}) on_error={flow.on_error}"]
    for one in flow.steps:
        words = [f"{key}={bound}" for key, bound in one.bindings.items()]
        words += [f"after={', '.join(one.after)}"] if one.after else []
        words += [f"when={one.when}"] if one.when else []
        words += [f"on_error={one.on_error}"] if one.on_error else []
        words += [f"concurrency={one.concurrency}"] if one.concurrency else []
        action = "workflow" if isinstance(one.action, Flow) else one.action
        lines.append(f"{one.name} = {'map' if one.is_map else 'add'}({action}; {'; '.join(words)})")
        for key, inner, reads in inside(one):
            if inner is not one.action and isinstance(inner, Leaf):
                lines.append(f"    {key}: {inner}; reads {', '.join(reads)}")
            elif isinstance(inner, Flow):
                lines += [f"    {key}: {line}" for line in told(inner)]
    return [*lines, f"returns {flow.output}"]


def inside(step: Step) -> Iterator[tuple[str, Leaf | Flow, tuple[str, ...]]]:
    """The actions of a step: its own, the body of a loop, each branch with its key; and what each of them reads."""
    match step.action:
        case Loop(body):
            yield "", body, tuple(step.bindings)
        case Pick(branches, otherwise):
            for key, branch in (*branches.items(), *((("otherwise", otherwise),) if otherwise else ())):
                yield key, branch.action, branch.reads
        case _:
            yield "", step.action, tuple(step.bindings)


def leaves(flow: Flow) -> Iterator[Leaf]:
    """Every leaf at any depth."""
    for step in flow.steps:
        for _, action, _ in inside(step):
            if isinstance(action, Leaf):
                yield action
            else:
                yield from leaves(action)


def answer(leaf: Leaf, seen: str) -> Any:
    """What the leaf answers to what it sees; raises `Failed` where it fails."""
    number = zlib.crc32(f"{leaf.tag}|{seen}".encode())
    if leaf.fails and (number >> 8) % leaf.fails == 0:
        raise Failed(f"{leaf.tag} failed")
    digits = [(number >> 3 * place) % 10 for place in range(number % 4)]
    match leaf.kind:
        case "int":
            return number % 10
        case "list":
            return digits
        case "dict":
            return {"k": number % 10, "l": digits}
        case "bool":
            return number % 2 == 0
        case "word":
            return "xyz"[number % 3]
        case _:
            return f"{leaf.tag}-{number % 100}" + (" {{ 7*7 }}" if number % 5 == 0 else "")
