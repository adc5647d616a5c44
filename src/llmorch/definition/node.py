"""References: how one step names the value of another.

What a binding may be is a closed union, `Binding`. The builder turns whatever people write into one with
`as_binding`; every floor above matches on these classes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

from typing_extensions import TypeVar as DefaultTypeVar

from ..models.values import Data, to_data
from ..templates.bounds import is_list

__all__ = [
    "Binding",
    "DictOf",
    "Each",
    "Filled",
    "FirstN",
    "FirstOf",
    "ListOf",
    "Literal",
    "Node",
    "Optional",
    "Ref",
    "as_binding",
    "each",
    "first_n",
    "first_of",
    "leaves",
    "optional",
    "refs_in",
]

T_co = DefaultTypeVar("T_co", covariant=True, default=Any)
T = TypeVar("T")
U = TypeVar("U")

_HINT = "it stands for a value that exists only while the workflow runs"


class Ref(Generic[T_co]):
    """The value a step or input will have, or a part of it.

    `ref["field"]` and `ref[0]` name parts; `ref.pick(lambda v: v.title)` names one with its type. A Ref cannot be
    compared, iterated, formatted or asked for its truth: it stands for a value that exists only while running.

    Example:
        >>> wf = Workflow("w")
        >>> wf.input("person")["name"]
        Ref(person.name)
    """

    __slots__ = ("owner", "path", "source")

    def __init__(self, source: str, path: tuple[str | int, ...] = (), *, owner: object = None) -> None:
        self.source = source
        self.path = path
        self.owner = owner

    def __getitem__(self, part: str | int) -> Ref[Any]:  # Any: the part's type is checked when planned
        if not isinstance(part, str | int) or isinstance(part, bool):
            raise TypeError(
                f"{self._shown()}[...] takes a key or an index, not {part!r}; do the rest in a function step"
            )
        return Ref(self.source, (*self.path, part), owner=self.owner)

    def pick(self, choose: Callable[[T_co], U]) -> Ref[U]:
        """A part of the value with its type; `choose` may only take attributes and items.

        Raises:
            TypeError: `choose` does anything else.
        """
        chosen: object = choose(cast(T_co, _Path(())))
        if not isinstance(chosen, _Path):
            raise TypeError(f"pick() takes a part of {self._shown()}, such as lambda v: v.title; do the rest in a step")
        steps = object.__getattribute__(chosen, "_steps")
        return Ref(self.source, self.path + steps, owner=self.owner)

    def _shown(self) -> str:
        return self.source + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()})"

    def __hash__(self) -> int:
        return hash((self.source, self.path))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ref):
            raise TypeError(f"{self._shown()} cannot be compared: {_HINT}; write when='{self._shown()} == ...'")
        return (self.source, self.path) == (other.source, other.path)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self._shown()} has no truth value yet: {_HINT}; use when=, optional() or a function step")

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"{self._shown()} cannot be iterated: {_HINT}; use wf.map(action, item=each(...))")

    def __contains__(self, item: object) -> bool:
        raise TypeError(f"{self._shown()} cannot be searched: {_HINT}; write when='... in {self._shown()}'")

    def __format__(self, spec: str) -> str:
        raise TypeError(f"{self._shown()} cannot be put into text: {_HINT}; write {{{{ {self._shown()} }}}} in a block")

    __str__ = __repr__

    def _no_order(self, other: object) -> bool:
        raise TypeError(f"{self._shown()} cannot be compared: {_HINT}; write when='{self._shown()} < ...'")

    __lt__ = __le__ = __gt__ = __ge__ = _no_order


class Node(Ref[T_co]):
    """A step placed in a workflow: a Ref to its value, with its name.

    Example:
        >>> wf = Workflow("w")
        >>> wf.add(Payload("hello", "Say hello.")).name
        'hello'
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The step's name."""
        return self.source


class _Path:
    """Records the attributes and items that `pick` takes."""

    __slots__ = ("_steps",)
    _steps: tuple[str | int, ...]

    def __init__(self, steps: tuple[str | int, ...]) -> None:
        object.__setattr__(self, "_steps", steps)

    def __getattribute__(self, name: str) -> _Path:
        if name.startswith("__"):
            return object.__getattribute__(self, name)  # type: ignore[no-any-return]  # dunders are Python's own
        return _Path((*object.__getattribute__(self, "_steps"), name))

    def __getitem__(self, part: str | int) -> _Path:
        if not isinstance(part, str | int) or isinstance(part, bool):
            self._refuse()
        return _Path((*object.__getattribute__(self, "_steps"), part))

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("pick() names a part of a value, such as lambda v: v.title; do the rest in a function step")

    __bool__ = __iter__ = __contains__ = __len__ = __call__ = __str__ = __add__ = __lt__ = __gt__ = _refuse


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written into the workflow."""

    value: Data


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list some of whose items are references."""

    items: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class DictOf:
    """A dict some of whose values are references."""

    items: tuple[tuple[str, Binding], ...]


@dataclass(frozen=True, slots=True)
class FirstOf:
    """The first declared reference that has a value."""

    refs: tuple[Ref[Any], ...]


@dataclass(frozen=True, slots=True)
class FirstN:
    """The first `n` values that come, in declared order."""

    refs: tuple[Ref[Any], ...]
    n: int
    cancel_rest: bool = False


@dataclass(frozen=True, slots=True)
class Optional:
    """A reference whose absence is this default."""

    source: Ref[Any] | FirstOf | FirstN
    default: Data = None


@dataclass(frozen=True, slots=True)
class Each(Generic[T_co]):
    """The items of a list, one for each item of a map."""

    source: Ref[Any] | FirstOf | FirstN | Optional | ListOf | Literal


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with holes, as a file may bind it; `refs` is what the names in it stand for."""

    text: str
    refs: tuple[tuple[str, Ref[Any]], ...]


Binding = Ref[Any] | Literal | ListOf | DictOf | FirstOf | FirstN | Optional | Each[Any] | Filled
_REFERENCE = (Ref, FirstOf, FirstN, Optional, Each)


@overload
def each(items: Ref[Sequence[T]], /) -> Each[T]: ...
@overload
def each(items: FirstOf | FirstN | Optional | Sequence[T], /) -> Each[T]: ...
def each(items: Any, /) -> Each[Any]:
    """In `wf.map`: one item of the map for each item of this list.

    Raises:
        TypeError: Text, a mapping, or anything else that is no list.
    """
    source: object = items
    if _is_reference(source) or isinstance(source, Optional):
        return Each(cast("Ref[Any] | FirstOf | FirstN | Optional", items))
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Sequence):
        raise TypeError(f"each() takes a reference or a list, not {type(items).__name__}; wrap it in a list")
    bound = as_binding(list(cast("Sequence[object]", source)), where="each()")
    assert isinstance(bound, ListOf | Literal)
    return Each(bound)


def first_of(*refs: Ref[T]) -> FirstOf:
    """The first declared reference that has a value; skipped when none has.

    Raises:
        TypeError: Nothing given, or something that is no reference.
    """
    return FirstOf(_refs(refs, "first_of"))


def first_n(nodes: Sequence[Ref[T]], n: int, *, cancel_rest: bool = False) -> FirstN:
    """The first `n` values that come, as a list in declared order; skipped when fewer can come.

    Args:
        cancel_rest: Stop what is still running once `n` values are there and nothing else needs it.

    Raises:
        TypeError: Nothing given, or something that is no reference.
    """
    return FirstN(_refs(nodes, "first_n"), n, cancel_rest)


def optional(source: Ref[T] | FirstOf | FirstN, default: Any = None) -> Optional:
    """The value if there is one, else the default: a skipped step then does not skip this one."""
    if not _is_reference(source):
        raise TypeError(f"optional() takes a reference, first_of or first_n, not {type(source).__name__}")
    return Optional(source, to_data(default, where="the default of optional()"))


def _is_reference(value: object) -> bool:
    return isinstance(value, Ref | FirstOf | FirstN)


def _refs(given: Sequence[object], verb: str) -> tuple[Ref[Any], ...]:
    if not given or not all(isinstance(ref, Ref) for ref in given):
        raise TypeError(f"{verb}() takes references, such as the nodes that wf.add() returns")
    return tuple(cast("Sequence[Ref[Any]]", given))


def as_binding(value: object, *, where: str) -> Binding:
    """What people write in a binding, as one of the closed union; data is copied.

    Raises:
        ValueRefused: Neither a reference nor data.
        TypeError: `each` inside a list or dict.
    """
    if isinstance(value, (*_REFERENCE, Filled)):
        return cast("Binding", value)
    if is_list(value) and any(_has_reference(item) for item in value):
        return ListOf(tuple(_inner(item, where) for item in value))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        if any(_has_reference(item) for item in pairs.values()):
            return DictOf(tuple((str(key), _inner(item, where)) for key, item in pairs.items()))
    return Literal(to_data(value, where=where))


def _inner(value: object, where: str) -> Binding:
    if isinstance(value, Each):
        raise TypeError(f"{where}: each() stands alone in a binding, not inside a list or dict")
    return as_binding(value, where=where)


def _has_reference(value: object) -> bool:
    if is_list(value):
        return any(_has_reference(item) for item in value)
    if isinstance(value, Mapping):
        return any(_has_reference(item) for item in cast("Mapping[object, object]", value).values())
    return isinstance(value, _REFERENCE)


def leaves(binding: Binding) -> Iterator[Ref[Any] | FirstOf | FirstN]:
    """What a binding waits for, at any depth: references, and selections as wholes."""
    match binding:
        case Ref() | FirstOf() | FirstN():
            yield binding
        case Literal():
            return
        case Optional(source=source) | Each(source=source):
            yield from leaves(source)
        case ListOf(items=items):
            for item in items:
                yield from leaves(item)
        case DictOf(items=pairs) | Filled(refs=pairs):
            for _, item in pairs:
                yield from leaves(item)


def refs_in(binding: Binding) -> Iterator[Ref[Any]]:
    """Every reference a binding holds, at any depth."""
    for leaf in leaves(binding):
        if isinstance(leaf, Ref):
            yield leaf
        else:
            yield from leaf.refs
