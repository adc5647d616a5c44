"""How a binding gets its value from a frame's slots, as small closures made once per definition.

A frame keeps one list with a slot for each input, step and selection. A slot holds data, `SKIPPED` (nothing failed),
`LOST` (skipped because something failed) or a `Broken` selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..definition.names import did_you_mean
from ..definition.node import Binding, DictOf, Each, Filled, FirstN, FirstOf, ListOf, Literal, Optional, Ref
from ..errors import StepError
from ..models.values import Data, copy_data
from ..templates import Template, compile_template
from ..templates.bounds import is_list, is_object

__all__ = ["LOST", "SKIPPED", "UNDECIDED", "Broken", "Mark", "Resolver", "follow", "lenient", "resolver"]


class Mark:
    """A slot's content that is no value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


SKIPPED: Final = Mark("SKIPPED")
LOST: Final = Mark("LOST")
UNDECIDED: Final = Mark("UNDECIDED")


@dataclass(frozen=True, slots=True)
class Broken:
    """A selection whose chosen value lacks the part that was asked for."""

    error: StepError


Resolver = Callable[[list[Any]], Data]
SlotOf = Mapping[object, int]


def follow(value: Data, path: tuple[str | int, ...], source: str) -> Data:
    """The part of a value that a path names.

    Raises:
        StepError: There is no such key or index.
    """
    for depth, part in enumerate(path):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError) as error:
            raise StepError(_missing(value, path, depth, source)) from error
    return value


def _missing(value: Data, path: tuple[str | int, ...], depth: int, source: str) -> str:
    spot = source + "".join(f"[{part!r}]" for part in path[:depth])
    part = path[depth]
    if is_object(value):
        return f"{spot} has no {part!r}{did_you_mean(str(part), value)}"
    if is_list(value):
        return f"{spot} is a list of {len(value)}; it has no {part!r}"
    return f"{spot} is {type(value).__name__}, not an object or list; it has no {part!r}"


def resolver(binding: Binding, slots: SlotOf) -> Resolver:
    """A function from a frame's slots to the binding's value, `SKIPPED` or `LOST`."""
    match binding:
        case Literal(value=value):
            return lambda _: value
        case Ref(source=source, path=path):
            return _reading(slots[source], path, source)
        case FirstOf() | FirstN():
            return _reading(slots[binding], (), "")
        case Optional(source=inner, default=default):
            read = resolver(inner, slots)
            return lambda values: default if (value := read(values)) is SKIPPED or value is LOST else value
        case Each(source=inner):
            return resolver(inner, slots)
        case ListOf(items=items):
            return _listing([resolver(item, slots) for item in items])
        case DictOf(items=pairs):
            return _mapping([(key, resolver(item, slots)) for key, item in pairs])
        case Filled(text=text, refs=named):
            return _filling(compile_template(text), _mapping([(name, resolver(ref, slots)) for name, ref in named]))


def _reading(slot: int, path: tuple[str | int, ...], source: str) -> Resolver:
    def read(values: list[Any]) -> Data:
        value = values[slot]
        if type(value) is Broken:
            raise value.error
        if value is SKIPPED or value is LOST or not path:
            return value
        return follow(value, path, source)

    return read


def _listing(readers: list[Resolver]) -> Resolver:
    def read(values: list[Any]) -> Data:
        items = [reader(values) for reader in readers]
        return _worst(items) or items

    return read


def _mapping(readers: list[tuple[str, Resolver]]) -> Resolver:
    def read(values: list[Any]) -> Data:
        items = {key: reader(values) for key, reader in readers}
        return _worst(items.values()) or items

    return read


def _filling(template: Template, read: Resolver) -> Resolver:
    def fill(values: list[Any]) -> Data:
        named = read(values)
        return named if type(named) is Mark else template.render(named)

    return fill


def _worst(items: Any) -> Mark | None:
    marks = [item for item in items if type(item) is Mark]
    return (LOST if LOST in marks else SKIPPED) if marks else None


def lenient(binding: Binding, slots: SlotOf) -> Resolver:
    """Like `resolver`, for a workflow's output: a skipped part of a dict is None, of a list is left out."""
    if isinstance(binding, ListOf):
        readers = [lenient(item, slots) for item in binding.items]
        return lambda values: [copy_data(item) for reader in readers if type(item := reader(values)) is not Mark]
    if isinstance(binding, DictOf):
        pairs = [(key, lenient(item, slots)) for key, item in binding.items]
        return lambda values: {
            key: None if type(item := reader(values)) is Mark else copy_data(item) for key, reader in pairs
        }
    read = resolver(binding, slots)
    return lambda values: copy_data(read(values))
