"""Descriptions of workflows: what one is and nothing of how it runs.

What the steps answer is a pure function of what they see (`answer`), so that an engine and an interpreter that never
met must agree.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "int", "list", "dict", "bool", "any"]
REQUIRED = object()


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


Arg = Lit | Ref | FirstOf | FirstN | Opt | ListOf | DictOf | Each


@dataclass(frozen=True)
class When:
    """`ref` is a reference itself, the other forms are expressions."""

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


@dataclass(frozen=True)
class Dflt:
    value: Any

    def __str__(self) -> str:
        return f"Default({self.value!r})"


@dataclass(frozen=True)
class Leaf:
    """A prompt or a function; of the answers one in `fails` is a failure (0: none)."""

    how: Literal["prompt", "async", "sync", "inline"]
    tag: str
    kind: Kind
    fails: int

    def __str__(self) -> str:
        return f"{self.how} {self.tag} -> {self.kind}" + (f", fails 1/{self.fails}" if self.fails else "")


@dataclass(frozen=True)
class Step:
    name: str
    action: Leaf | Flow
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
        action = one.action if isinstance(one.action, Leaf) else "workflow"
        lines.append(f"{one.name} = {'map' if one.is_map else 'add'}({action}; {'; '.join(words)})")
        lines += [f"    {line}" for line in (told(one.action) if isinstance(one.action, Flow) else ())]
    return [*lines, f"returns {flow.output}"]


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
        case _:
            return f"{leaf.tag}-{number % 100}" + (" {{ 7*7 }}" if number % 5 == 0 else "")
