"""Bindings in documents.

A binding is a literal, unless it is a mapping with exactly these keys:

| form | meaning |
|---|---|
| `{from: facts.title}` | the value of a step or input, or a part: `.key`, `[0]`, `["any key"]` |
| `{each: X}` | in a map, one item of X; X is text as in `from`, or one of these forms, or a list |
| `{template: "text with {{ facts.title }}"}` | the text with its holes filled; names are steps and inputs |
| `{first_of: [a, b]}` | the first of these that has a value |
| `{first_n: [a, b, c], n: 2, cancel_rest: true}` | the first n values that come |
| `{optional: X, default: ...}` | X, or the default where it is skipped |
| `{literal: ...}` | the data inside, whatever it looks like |
| `{dict: {...}}` | a mapping of bindings whose own keys look like one of these forms |

Lists and other mappings that hold such forms at any depth are lists and mappings of bindings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .._json import dumps, loads
from ..errors import TemplateError
from ..models.values import Data, to_data
from ..templates import compile_template
from ..templates.bounds import is_list, is_object
from .document_read import Reader
from .names import did_you_mean
from .node import Binding, DictOf, Each, Filled, FirstN, FirstOf, ListOf, Literal, Optional, Ref

__all__ = ["binding_from", "binding_to", "ref_from"]

_FORMS: Final = {
    "from": frozenset({"from"}),
    "each": frozenset({"each"}),
    "template": frozenset({"template"}),
    "first_of": frozenset({"first_of"}),
    "first_n": frozenset({"first_n", "n", "cancel_rest"}),
    "optional": frozenset({"optional", "default"}),
    "literal": frozenset({"literal"}),
    "dict": frozenset({"dict"}),
}
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_REF = re.compile(r"[a-z][a-z0-9_-]*")
_PART = re.compile(r'\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,18})\]|\[("(?:[^"\\]|\\.)*")\]')


def _form(given: Data) -> str | None:
    """Which form a mapping is, if any."""
    if not isinstance(given, dict):
        return None
    for name, keys in _FORMS.items():
        if name in given and given.keys() <= keys:
            return name
    return None


def _holds_form(given: Data) -> bool:
    if is_list(given):
        return any(_holds_form(item) for item in given)
    if is_object(given):
        return _form(given) is not None or any(_holds_form(item) for item in given.values())
    return False


def binding_to(binding: Binding) -> Data:
    """The binding as it stands in a document."""
    match binding:
        case Literal(value=value):
            return {"literal": to_data(value)} if _holds_form(value) else to_data(value)
        case Ref():
            return {"from": ref_to(binding)}
        case ListOf(items=items):
            return [binding_to(item) for item in items]
        case DictOf(items=pairs):
            written = {name: binding_to(item) for name, item in pairs}
            return {"dict": written} if _form(written) is not None else written
        case FirstOf(refs=refs):
            return {"first_of": [ref_to(ref) for ref in refs]}
        case FirstN(refs=refs, n=n, cancel_rest=cancel_rest):
            rest = {"cancel_rest": True} if cancel_rest else {}
            return {"first_n": [ref_to(ref) for ref in refs], "n": n, **rest}
        case Optional(source=source, default=default):
            return {"optional": _source_to(source), **({} if default is None else {"default": to_data(default)})}
        case Each(source=source):
            return {"each": _source_to(source)}
        case Filled(text=text):
            return {"template": text}


def _source_to(source: Binding) -> Data:
    return ref_to(source) if isinstance(source, Ref) else binding_to(source)


def ref_to(ref: Ref[Any]) -> str:
    """A reference as text: `facts.claims[0]`."""
    return ref.source + "".join(_part_to(part) for part in ref.path)


def _part_to(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{int(part)}]"
    part = str.__str__(part)  # an enum's value, not its name
    return f".{part}" if _PLAIN_KEY.fullmatch(part) else f"[{dumps(part)}]"


def binding_from(reader: Reader, given: Data, at: str) -> Binding:
    """The binding that stands in a document; a fault gives an empty literal."""
    form = _form(given)
    if form is not None:
        return _FROM[form](reader, given, at)
    if is_list(given) and _holds_form(given):
        return ListOf(tuple(_inner(reader, item, f"{at}[{index}]") for index, item in enumerate(given)))
    if is_object(given) and _holds_form(given):
        return _dict_of(reader, given, at)
    return Literal(given)


def _dict_of(reader: Reader, given: dict[str, Data], at: str) -> DictOf:
    return DictOf(tuple((name, _inner(reader, item, f"{at}.{name}")) for name, item in given.items()))


def _inner(reader: Reader, given: Data, at: str) -> Binding:
    binding = binding_from(reader, given, at)
    if isinstance(binding, Each):
        reader.fault(at, "each stands alone in a binding, not inside a list or mapping")
    return binding


def ref_from(reader: Reader, given: Data, at: str) -> Ref[Any]:
    """The reference that text such as `facts.claims[0]` is."""
    text = reader.text(given, at)
    start = _REF.match(text)
    spot = start.end() if start is not None else 0
    path: list[str | int] = []
    while start is not None and spot < len(text):
        part = _PART.match(text, spot)
        if part is None:
            break
        key, index, quoted = part.groups()
        path.append(key if key is not None else int(index) if index is not None else _unquoted(reader, quoted, at))
        spot = part.end()
    if text and (start is None or spot < len(text)):
        reader.fault(at, f"{text!r} is no reference; write a step or input with parts, such as facts.claims[0]")
    return Ref(start.group() if start is not None else "", tuple(path))


def _unquoted(reader: Reader, text: str, at: str) -> str:
    try:
        return str(loads(text))
    except ValueError:
        reader.fault(at, f"{text} is no quoted key")
        return ""


def _refs_from(reader: Reader, given: Data, at: str) -> tuple[Ref[Any], ...]:
    refs = tuple(ref_from(reader, item, f"{at}[{index}]") for index, item in enumerate(reader.sequence(given, at)))
    if not refs:
        reader.fault(at, "names no steps; give it a list of them")
    return refs


def _first_n(reader: Reader, given: dict[str, Data], at: str) -> FirstN:
    n = reader.integer(given.get("n"), f"{at}.n")
    if n is None:
        reader.fault(at, "first_n needs n, how many values it takes")
    rest = reader.flag(given.get("cancel_rest", False), f"{at}.cancel_rest")
    return FirstN(_refs_from(reader, given["first_n"], f"{at}.first_n"), n or 0, rest)


def _optional(reader: Reader, given: dict[str, Data], at: str) -> Binding:
    source = _source_from(reader, given["optional"], f"{at}.optional")
    if not isinstance(source, Ref | FirstOf | FirstN):
        reader.fault(at, "optional takes a reference, first_of or first_n")
        return Literal(None)
    return Optional(source, given.get("default"))


def _each(reader: Reader, given: dict[str, Data], at: str) -> Binding:
    source = _source_from(reader, given["each"], f"{at}.each")
    if isinstance(source, Ref | FirstOf | FirstN | Optional | ListOf):
        return Each(source)
    if isinstance(source, Literal) and isinstance(source.value, list):
        return Each(source)
    reader.fault(at, "each takes a reference or a list")
    return Literal(None)


def _filled(reader: Reader, given: dict[str, Data], at: str) -> Binding:
    text = reader.text(given["template"], f"{at}.template")
    try:
        names = sorted(compile_template(text).names)
    except TemplateError as error:
        reader.fault(f"{at}.template", error.message)
        return Literal(None)
    for name in names:
        if name not in reader.names:
            reader.fault(f"{at}.template", f"{name!r} names no step or input{did_you_mean(name, reader.names)}")
    return Filled(text, tuple((name, Ref(reader.names[name])) for name in names if name in reader.names))


def _source_from(reader: Reader, given: Data, at: str) -> Binding:
    return ref_from(reader, given, at) if isinstance(given, str) else binding_from(reader, given, at)


def _dict(reader: Reader, given: dict[str, Data], at: str) -> Binding:
    return _dict_of(reader, reader.mapping(given["dict"], f"{at}.dict") or {}, at)


_FROM: Final[dict[str, Callable[[Reader, dict[str, Data], str], Binding]]] = {
    "from": lambda reader, given, at: ref_from(reader, given["from"], at),
    "each": _each,
    "template": _filled,
    "first_of": lambda reader, given, at: FirstOf(_refs_from(reader, given["first_of"], f"{at}.first_of")),
    "first_n": _first_n,
    "optional": _optional,
    "literal": lambda reader, given, at: Literal(given["literal"]),
    "dict": _dict,
}
