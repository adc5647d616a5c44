"""Functions a model may call."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from .._clock import seconds
from ..errors import ValueRefused
from ._tool_arguments import ToolMistake, arguments_of, docstring, given_arguments, parsed
from ._tool_docs import first_paragraph
from .context import RunContext
from .values import Data, copy_data, to_data

__all__ = ["Tool", "ToolMistake", "as_tool", "result_text", "tool"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Tool(Generic[P, R]):
    """A function that a model may call; frozen, and still the function to everyone else.

    Two are equal when they wrap the same function in the same way. `tool` makes them from typed functions, and
    `Tool.from_schema` from JSON schemas.

    Args:
        function: Plain or async.
        name: What the model calls it; the function's own by default.
        description: What the model is told it is for; by default the first paragraph of the docstring.
        timeout: Bound of one call, in seconds or as a timedelta; unset: none.
        version: Stands for the source in the fingerprint: change it when the meaning changes.
        schema: JSON schema of the arguments, which the function then gets as one dict; unset: the signature says.
        requires_approval: A person is asked before each use; see `Orchestrator.answer`.

    Attributes:
        function: The function itself.
        name: What the model calls it.
        description: What the model is told it is for.
        timeout_s: Bound of one call in seconds, or None.
        version: Stands for the source in the fingerprint, if given.
        requires_approval: A person is asked before each use.
        is_async: `async def` runs on the event loop, `def` in a worker thread.
        context: The parameter that receives the RunContext, if any; the model is not told of it.

    Raises:
        TypeError: A name, parameter, type or schema that no model can be told of.
        ValueError: A timeout that is not more than 0.

    Example:
        >>> @tool
        ... def add(a: int, b: int = 1) -> int:
        ...     '''Add two numbers.
        ...
        ...     Args:
        ...         a: The first one.
        ...     '''
        ...     return a + b
        >>> add(2, 3), add.name, add.description
        (5, 'add', 'Add two numbers.')
        >>> add.schema["properties"]["a"]
        {'description': 'The first one.', 'type': 'integer'}
        >>> add.call(add.read('{"a": "41"}'))
        42
    """

    function: Callable[P, R]
    name: str
    description: str
    timeout_s: float | None
    version: str | None
    requires_approval: bool
    is_async: bool
    context: str | None

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | timedelta | None = None,
        version: str | None = None,
        schema: Mapping[str, Data] | None = None,
        requires_approval: bool = False,
    ) -> None:
        own = _checked(function)
        called = _tool_name(own, name)
        takes = arguments_of(own, called) if schema is None else given_arguments(own, schema, called)
        functools.update_wrapper(self, own, updated=())  # the function's own attributes could hide ours
        self._arguments = takes
        self._as_is = (name, description, timeout, version, schema) == (None,) * 5 and not requires_approval
        self.function = function
        self.name = called
        self.description = first_paragraph(docstring(own)) if description is None else description
        self.timeout_s = _positive(timeout, called)
        self.version = version
        self.requires_approval = requires_approval
        self.is_async = _is_async(own)
        self.context = takes.context
        self._is_sealed = True

    @classmethod
    def from_schema(
        cls,
        name: str,
        function: Callable[..., S],
        *,
        schema: Mapping[str, Data],
        description: str = "",
        timeout: float | timedelta | None = None,
        version: str | None = None,
        requires_approval: bool = False,
    ) -> Tool[..., S]:
        """A tool whose arguments a JSON schema describes; the function gets them as one dict.

        One dict, because properties may have names that no parameter can have. Properties that the schema does not
        name are refused unless it says `additionalProperties` itself or combines several schemas.

        Args:
            name: What the model calls it.
            function: Plain or async; takes the dict, and may take a parameter annotated RunContext.
            schema: JSON schema of an object.
            description: What the model is told it is for.
            timeout: Bound of one call, in seconds or as a timedelta; unset: none.
            version: Stands for the source in the fingerprint.
            requires_approval: A person is asked before each use.

        Raises:
            TypeError: The schema is none, or not of an object; the name is none a model can call.

        Example:
            >>> schema = {"type": "object", "properties": {"user-id": {"type": "integer"}}, "required": ["user-id"]}
            >>> look_up = Tool.from_schema("look_up", lambda given: given["user-id"] * 2, schema=schema)
            >>> look_up.call(look_up.read('{"user-id": 21}'))
            42
        """
        return Tool(
            function,
            name=name,
            description=description,
            timeout=timeout,
            version=version,
            schema=schema,
            requires_approval=requires_approval,
        )

    @property
    def schema(self) -> dict[str, Data]:
        """JSON schema of the arguments: an object; a copy of the caller's own."""
        return cast("dict[str, Data]", copy_data(self._arguments.schema))

    @property
    def address(self) -> str:
        """Module and qualified name of the function."""
        return f"{getattr(self.function, '__module__', '?')}:{getattr(self.function, '__qualname__', '?')}"

    @property
    def is_portable(self) -> bool:
        """Whether another process can find this very tool by its address."""
        module, _, path = self.address.partition(":")
        if "<" in path or module == "__main__":
            return False
        found: object = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        return found is self or (self._as_is and found is self.function)

    def read(self, arguments: str) -> dict[str, Any]:  # Any: values of the annotated types
        """The arguments a model wrote, as values of the annotated types; what it left out is left out.

        They are read as pydantic reads JSON in lax mode (`"5"` is an integer where one is wanted). Empty text and
        `null` are no arguments. Unknown and repeated names are refused.

        Args:
            arguments: The raw JSON text.

        Raises:
            ToolMistake: They do not fit; the text is what the model should read.
        """
        try:
            return self._arguments.read(parsed(arguments))
        except ToolMistake as mistake:
            raise ToolMistake(f"{self.name} was not called: {mistake}") from None

    def call(self, arguments: dict[str, Any], context: RunContext | None = None) -> R:  # Any: as above
        """What the function gives for these arguments: for an async one the coroutine.

        Args:
            arguments: As `read` gives them.
            context: For the parameter annotated RunContext, where there is one.
        """
        function = cast("Callable[..., R]", self.function)
        given = {} if self.context is None or context is None else {self.context: context}
        return function(arguments, **given) if self._arguments.as_one else function(**arguments, **given)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tool):
            return NotImplemented
        theirs = cast("Tool[..., Any]", other)  # Any: of any function
        return self is theirs or (self._options() == theirs._options() and bool(self.function == theirs.function))

    def __hash__(self) -> int:
        return hash((self.name, self.description, self.timeout_s, self.version))

    def _options(self) -> tuple[object, ...]:
        return (
            self.name, self.description, self.timeout_s, self.version, self._arguments.schema, self.requires_approval,
        )  # fmt: skip

    def __setattr__(self, name: str, value: object) -> None:
        if "_is_sealed" in vars(self):
            self._refuse(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise AttributeError(
            f"tool {self.name!r} is frozen ({name}); make another with tool(...)({self.name}.function)"
        )

    def __copy__(self) -> Tool[P, R]:
        return self

    def __deepcopy__(self, memo: object) -> Tool[P, R]:
        return self

    def __repr__(self) -> str:
        return f"Tool({self.name!r})"


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | timedelta | None = None,
    version: str | None = None,
    requires_approval: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | timedelta | None = None,
    version: str | None = None,
    requires_approval: bool = False,
) -> Any:  # Any: as the overloads say
    """Make a typed function a tool that a model may call; it can still be called as the function it was.

    The annotations become the JSON schema of its arguments, the docstring (Google, numpy or reST style) their
    descriptions. A parameter annotated `RunContext` is filled in by llmorch and hidden from the model.

    Args:
        name: What the model calls it; by default the function's name. Letters, digits, `_` and `-`, at most 64.
        description: What the model is told it is for; by default the first paragraph of the docstring.
        timeout: Bound of one call, in seconds or as a timedelta; unset: none.
        version: Stands for the source in the fingerprint: change it when the meaning changes.
        requires_approval: A person is asked before each use, as a question of the step (`Orchestrator.answer`,
            `on_ask`): yes, no, or an `Approval` with a note for the model.

    Raises:
        TypeError: A name, parameter or type that no model can be told of; with what to write instead.
        ValueError: A timeout that is not more than 0.

    Example:
        >>> @tool(timeout=5)
        ... async def weather(city: str) -> str:
        ...     '''The weather in a city today.'''
        ...     return f"Rain in {city}."
        >>> weather.is_async, weather.timeout_s
        (True, 5.0)
    """

    def make(target: Callable[..., Any]) -> Tool[..., Any]:
        return Tool(
            target,
            name=name,
            description=description,
            timeout=timeout,
            version=version,
            requires_approval=requires_approval,
        )

    return make if function is None else make(function)


def as_tool(given: Tool[..., Any] | Callable[..., Any]) -> Tool[..., Any]:  # Any: of any function
    """The tool itself, or the plain function as one.

    Raises:
        TypeError: It is neither, or a function that no model can be told of.

    Example:
        >>> def double(n: int) -> int:
        ...     return 2 * n
        >>> as_tool(double) == as_tool(double) == tool(double)
        True
    """
    return cast("Tool[..., Any]", given) if isinstance(given, Tool) else Tool(given)


def result_text(value: object, *, where: str = "the result of a tool") -> str:
    """What a tool returned as the text the model reads: text as it is, anything else as JSON of its data.

    Args:
        where: Names the thing in the error.

    Raises:
        ValueRefused: It is no data.

    Example:
        >>> result_text("ärger"), result_text({"n": [1, None]})
        ('ärger', '{"n": [1, null]}')
    """
    data = to_data(value, where=where)
    if isinstance(data, str):
        return data
    try:
        return json.dumps(data, ensure_ascii=False)
    except ValueError as error:
        raise ValueRefused(f"{where} holds an integer of too many digits; return it as text") from error


def _checked(function: object) -> Callable[..., Any]:
    if isinstance(function, Tool):
        own = cast("Tool[..., Any]", function).name
        raise TypeError(f"{own!r} is a tool already; make another of its function: tool(...)({own}.function)")
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"a tool is made of a function, not of {function!r}; write a def and put @tool above it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function!r} yields, but a tool gives one result; return a list")
    return function


def _tool_name(function: Callable[..., Any], name: str | None) -> str:
    given = getattr(function, "__name__", None) if name is None else name
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        shown = repr(function) if given is None else repr(given)
        raise TypeError(
            f"{shown} cannot be a tool's name; give it one of 1 to 64 ASCII letters, digits, '_' and '-': "
            "tool(name='...')"
        )
    return given


def _positive(timeout: float | timedelta | None, name: str) -> float | None:
    span = seconds(timeout)
    if span is not None and not span > 0:
        raise ValueError(f"the timeout of tool {name!r} must be more than 0 seconds (leave it out for none)")
    return None if span is None else float(span)


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  # the method itself is asked, for callable objects
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
