"""A function's signature as the JSON schema of a tool's arguments, and the text a model wrote as those arguments."""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn, NotRequired, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from ..errors import ValueRefused
from ..schema import adapter, describe, json_schema, validate
from ._tool_docs import argument_texts
from .context import RunContext
from .values import Data, to_data

__all__ = ["Arguments", "ToolMistake", "arguments_of", "docstring", "given_arguments", "parsed"]

_MAX_DEPTH: Final = 100
_MAX_CHARACTERS: Final = 1_000_000
_MAX_FAULTS: Final = 10
_MAX_MESSAGE: Final = 300
_COMBINED: Final = frozenset(
    ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "unevaluatedProperties")
)


class ToolMistake(ValueError):
    """A model called a tool wrongly; the text says what to correct and is meant for the model.

    Example:
        >>> parsed('{"query": NaN}')
        Traceback (most recent call last):
        llmorch.models._tool_arguments.ToolMistake: the arguments hold NaN, which is no JSON; ...
    """


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a tool takes.

    Attributes:
        schema: JSON schema of the arguments, an object.
        read: Gives the arguments that JSON data stands for, or raises `ToolMistake`.
        context: The parameter that receives the RunContext, if any; not in the schema.
        as_one: The function takes the arguments as one dict instead of by name.
    """

    schema: dict[str, Data]
    read: Callable[[dict[str, Data]], dict[str, Any]]  # Any: values of the annotated types
    context: str | None = None
    as_one: bool = False


def docstring(function: Callable[..., Any]) -> str:
    """What the function's author wrote about it, without indentation."""
    target = _unwrapped(function)
    if not inspect.isroutine(target):  # a callable object: its method's words, else its class's
        kind = cast("Any", type(target))  # Any: it may or may not have `__call__`
        target = kind.__call__ if kind.__call__.__doc__ else kind
    return inspect.cleandoc(target.__doc__ or "")


def arguments_of(function: Callable[..., Any], tool: str) -> Arguments:
    """The arguments a function's signature and docstring describe.

    Raises:
        TypeError: It has parameters that no model can give; with what to write instead.
    """
    hints = _hints(function, tool)
    fields: dict[str, Any] = {}  # Any: type forms
    context: str | None = None
    parameters = _parameters(function, tool)
    texts = argument_texts(docstring(function), parameters)
    for name, parameter in parameters.items():
        hint = hints.get(name, Any)
        if not _is_context(hint):
            fields[name] = _field(hint, parameter, texts.get(name))
        elif context is None:
            context = name
        else:
            raise TypeError(f"tool {tool!r} takes a RunContext twice, as {context!r} and {name!r}; keep one")
    reader = _reader(fields, tool)
    schema = _schema(reader, fields, tool)
    return Arguments(schema, functools.partial(_read, reader, tuple(schema["properties"])), context)


def given_arguments(function: Callable[..., Any], schema: Mapping[str, Data], tool: str) -> Arguments:
    """The arguments a JSON schema describes.

    Raises:
        TypeError: It is no valid JSON schema of an object.
    """
    plain = json_schema(to_data(schema, where=f"the schema of tool {tool!r}"))
    if plain.get("type") != "object":
        raise TypeError(f"the schema of tool {tool!r} must describe an object: give it type 'object' and properties")
    if "properties" in plain and not plain.keys() & _COMBINED:
        plain.setdefault("additionalProperties", False)
    try:
        validate(plain, {})
    except ValueError:
        pass  # no arguments do not fit it, which is no fault of the schema
    except (TypeError, RecursionError) as error:
        raise TypeError(f"the schema of tool {tool!r} cannot be used: {error}") from error
    context = next((name for name, hint in _hints(function, tool).items() if _is_context(hint)), None)
    return Arguments(plain, functools.partial(_fitting, plain), context, as_one=True)


def _parameters(function: Callable[..., Any], tool: str) -> dict[str, inspect.Parameter]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise TypeError(f"tool {tool!r} has no signature to read arguments from; wrap it in a def") from error
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(f"tool {tool!r} takes *{name}, which a model cannot give; write {name}: list[...] instead")
        if parameter.kind is parameter.VAR_KEYWORD:
            raise TypeError(
                f"tool {tool!r} takes **{name}, which a model cannot give; name the arguments, or write "
                f"{name}: dict[str, ...] instead"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"tool {tool!r} takes {name!r} by position only; models name arguments, so remove the '/'")
        if position == 0 and name in ("self", "cls") and parameter.annotation is parameter.empty:
            raise TypeError(f"tool {tool!r} is a method without its object; make the tool of the bound one: tool(x.m)")
    # what a partial sets is the program's to give, and may be a secret
    return {name: parameter for name, parameter in signature.parameters.items() if name not in bound}


def _hints(function: Callable[..., Any], tool: str) -> dict[str, Any]:  # Any: type forms
    """The annotations of the parameters. One that cannot be read is refused: it could be a RunContext."""
    target = _unwrapped(function)
    target = target if inspect.isroutine(target) else type(target).__call__
    raw = {name: hint for name, hint in getattr(target, "__annotations__", {}).items() if name != "return"}
    try:
        return typing.get_type_hints(
            types.SimpleNamespace(__annotations__=raw),
            globalns=getattr(inspect.unwrap(target), "__globals__", {}),
            include_extras=True,
        )
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise TypeError(
            f"an annotation of tool {tool!r} cannot be read ({error}); define or import the type at the top of the "
            "module, before the tool and not under TYPE_CHECKING"
        ) from error


def _unwrapped(function: Any) -> Any:  # Any: a function, a partial or a callable object
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_context(hint: Any) -> bool:  # Any: a type form
    """Whether it is the RunContext, alone or with `| None`; a model must never give one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType, Annotated):
        return any(map(_is_context, typing.get_args(hint)))
    return hint is RunContext


def _field(hint: Any, parameter: inspect.Parameter, text: str | None) -> Any:  # Any: type forms
    """The annotation with the docstring's words and the default; what `Field` says goes before both."""
    is_annotated = typing.get_origin(hint) is Annotated
    kind, *notes = typing.get_args(hint) if is_annotated else (hint,)
    texts = [note for note in notes if isinstance(note, str)]
    notes = [note for note in notes if not isinstance(note, str)]
    words = text or (texts[0] if texts else None)
    default = parameter.default
    if isinstance(default, FieldInfo):
        notes.append(default)
    elif default is not parameter.empty:
        notes.insert(0, Field(json_schema_extra=_shown(default)))
    if words:
        notes.insert(0, Field(description=words))
    field = Annotated[(kind, *notes)] if notes else kind
    is_filled = any(isinstance(note, FieldInfo) and not note.is_required() for note in notes)
    has_default = default is not parameter.empty and not isinstance(default, FieldInfo)
    return NotRequired[field] if has_default or is_filled else field


def _shown(default: object) -> dict[str, Any]:  # Any: JSON data
    """The default as the schema names it; one that is no data is left out."""
    try:
        return {"default": to_data(default)}
    except ValueRefused:
        return {}


def _reader(fields: Mapping[str, Any], tool: str) -> TypeAdapter[Any]:  # Any: type forms
    # a TypedDict takes every name, where a model would not take `json` or `_x`, and gives back what was given only
    make: Any = TypedDict  # Any: checkers follow literal fields only
    record = make("Arguments", dict(fields))
    record.__pydantic_config__ = ConfigDict(extra="forbid")
    try:
        return adapter(record)
    except TypeError as error:
        raise _unusable(fields, tool, error) from error


def _unusable(fields: Mapping[str, Any], tool: str, error: TypeError) -> TypeError:  # Any: type forms
    """The error with the first argument named that cannot be used alone either."""
    for name, field in fields.items():
        kind = typing.get_args(field)[0] if typing.get_origin(field) is NotRequired else field
        try:
            adapter(kind)
        except TypeError as cause:
            return TypeError(f"argument {name!r} of tool {tool!r}: {cause}")
    return TypeError(f"the arguments of tool {tool!r}: {error}")


class _WithoutTitles(GenerateJsonSchema):
    """Titles that only repeat an argument's name cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # Any: pydantic's own form
        return False


def _schema(reader: TypeAdapter[Any], fields: Mapping[str, Any], tool: str) -> dict[str, Any]:  # Any: as above
    from pydantic.errors import PydanticUserError

    try:
        schema = reader.json_schema(schema_generator=_WithoutTitles)
    except PydanticUserError as error:
        kinds = ", ".join(f"{name}: {describe(field)}" for name, field in fields.items())
        reason = str(error).partition("\n")[0]
        raise TypeError(f"tool {tool!r} ({kinds}) has no JSON schema ({reason}); use types JSON can hold") from error
    return {"type": "object", "properties": schema.get("properties", {}), **_rest(schema)}


def _rest(schema: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON data
    kept = {name: schema[name] for name in ("required", "$defs") if name in schema}
    return {**kept, "additionalProperties": False}


def _read(reader: TypeAdapter[Any], known: tuple[str, ...], data: dict[str, Data]) -> dict[str, Any]:  # Any: as above
    try:
        read: dict[str, Any] = reader.validate_json(json.dumps(data))
    except ValidationError as error:
        faults = [
            _fault(detail["loc"], detail["type"], detail["msg"], known)
            for detail in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    else:
        return read
    more = f"; and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    raise ToolMistake("; ".join(faults[:_MAX_FAULTS]) + more)


def _fault(place: tuple[str | int, ...], kind: str, message: str, known: tuple[str, ...]) -> str:
    where = ""
    for key in place:
        where += f"[{key}]" if isinstance(key, int) else f".{key}" if where else key
    if kind == "extra_forbidden" and len(place) == 1:
        takes = f"the arguments are {', '.join(known)}" if known else "the tool takes none"
        message = f"there is no such argument; {takes}"
    elif kind == "missing" and len(place) == 1:
        message = "this argument is required"
    return f"{_shortened(where)}: {_shortened(message)}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 100]} ... {text[-80:]}"


def _fitting(schema: dict[str, Data], data: dict[str, Data]) -> dict[str, Any]:  # Any: JSON data
    try:
        validate(schema, data)
    except ValueError as error:
        raise ToolMistake(str(error)) from None
    except (RecursionError, ArithmeticError):  # a schema that refers to itself; numbers beyond what a float holds
        raise ToolMistake("the arguments are too deep or too large to be checked; make them simpler") from None
    return data


def parsed(arguments: str) -> dict[str, Data]:
    """The JSON object a model wrote; nothing at all, or `null`, is the empty one.

    Line breaks inside a text are taken as they are, because models write them.

    Raises:
        ToolMistake: It is no JSON object, or holds what JSON data cannot.
    """
    if len(arguments) > _MAX_CHARACTERS:
        raise ToolMistake(f"the arguments are longer than {_MAX_CHARACTERS:,} characters; give less at once")
    try:
        data = json.loads(
            arguments if arguments.strip() else "{}",
            strict=False,
            parse_constant=_no_number,
            object_pairs_hook=_without_repeats,
        )
    except ToolMistake:
        raise
    except RecursionError:
        raise ToolMistake(f"the arguments are nested more than {_MAX_DEPTH} levels deep; make them flatter") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos + 1}"
        raise ToolMistake(f"the arguments are not JSON ({reason}); give one JSON object") from None
    except ValueError:
        raise ToolMistake("the arguments hold a number of too many digits; give it as text") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ToolMistake(f"the arguments must be one JSON object, not {_kind(data)}")
    return _checked(cast("dict[str, Data]", data))


def _no_number(word: str) -> NoReturn:
    raise ToolMistake(f"the arguments hold {word}, which is no JSON; use a finite number or null")


def _without_repeats(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ToolMistake(f"{_shortened(_clean(name))}: given twice; give it once")
        seen.add(name)
    return made


def _checked(data: dict[str, Data]) -> dict[str, Data]:
    try:
        checked: dict[str, Data] = to_data(data, where="the object")
    except ValueRefused as error:
        what = _clean(error.message.partition(", which cannot be recorded")[0])
        raise ToolMistake(f"{_shortened(what)}; leave it out") from None
    return checked


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _kind(data: Data) -> str:
    if isinstance(data, str):
        return "a text"
    return "a list" if isinstance(data, list) else f"{json.dumps(data)[:40]}"
