"""Everything that defines one interaction with a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from itertools import groupby
from typing import Any, Generic, TypedDict, Unpack, cast, overload

from pydantic import Field, field_serializer, field_validator
from typing_extensions import TypeVar

from .. import door
from .._clock import seconds
from ..schema import check_type, json_schema
from .action import Action
from .base import FrozenData, Seconds, Value, positional, several
from .block import Block
from .message import Message, Role
from .policy import Retry
from .response import Response
from .settings import Settings
from .tool import Tool, as_tool
from .values import Data, FrozenDict, freeze, to_data

__all__ = ["Payload", "PayloadChanges", "own_name"]

T = TypeVar("T", covariant=True, default=str)
U = TypeVar("U")


class PayloadChanges(TypedDict, total=False):
    """What `Payload.using` may change; a field left out is kept, None unsets it."""

    name: str
    blocks: Iterable[Block | str]
    model: str | None
    output: Any  # Any: a type, a union, a Literal or a JSON schema
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    stop: Iterable[str] | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    extra: Mapping[str, Any] | None  # Any: vendor fields
    history: Iterable[Message] | None
    tools: Iterable[Tool[..., Any] | Callable[..., Any]] | None
    max_tool_rounds: int | None
    output_retries: int | None
    fallback: Iterable[str] | None
    retry: Retry | None
    timeout: float | timedelta | None
    cache: bool | float | timedelta | None
    description: str | None
    tags: Iterable[str] | None


class Payload(Value, Action[T], Generic[T]):
    """One LLM call: blocks, model, settings and output type.

    Args:
        name: Also the step's name, unless `add` is given another.
        blocks: Text in order; a plain string is a user block. Adjacent blocks of one role become one message.
        model: `"provider:model"`; unset, the orchestrator's default is used.
        output: A type, a union, a Literal or a JSON schema that the answer must satisfy; `str` is the answer's text.
        temperature: 0 means 0; None, as everywhere, means unset.
        max_tokens: Bound of the answer, in tokens.
        extra: Fields passed into the request body as they are.
        history: Messages put before the last message.
        tools: Functions the model may call; see `tool`.
        max_tool_rounds: How often it may ask for tools before it must answer without.
        output_retries: How often an answer that fails `output` is sent back with the error.
        fallback: Models to try, in order, when this one cannot answer.
        retry: How often and patiently a call is repeated; `Retry(attempts=1)` turns it off.
        timeout: Bound of one call, in seconds or as a timedelta; unset: 600 s.
        cache: Take the answer from the response cache, and leave it there: True, or for how long, in seconds or as a
            timedelta. False: never. Unset: as the orchestrator says. A payload with tools is never cached.

    Example:
        >>> hello = Payload("hello", "Say hello to {{ who }}.", model="offline:echo")
        >>> sorted(hello.variables)
        ['who']
    """

    name: str = Field(min_length=1)
    blocks: tuple[Block, ...] = Field(default=(), strict=False)
    model: str | None = Field(default=None, min_length=1)
    output: Any = str  # Any: a type, a union, a Literal or a JSON schema
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: tuple[str, ...] = Field(default=(), strict=False)
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    extra: FrozenData = FrozenDict()
    history: tuple[Message, ...] = Field(default=(), strict=False)
    tools: tuple[Tool[..., Any], ...] = Field(default=(), strict=False)
    max_tool_rounds: int = Field(default=8, ge=1, le=100)
    output_retries: int = Field(default=1, ge=0, le=10)
    fallback: tuple[str, ...] = Field(default=(), strict=False)
    retry: Retry | None = None
    timeout: Seconds | None = None
    cache: bool | Seconds | None = None
    description: str = ""
    tags: tuple[str, ...] = Field(default=(), strict=False)

    # fmt: off
    @overload
    def __init__(
        self: Payload[str], name: str, *blocks: Block | str, model: str | None = None,
        temperature: float | None = None, max_tokens: int | None = None, top_p: float | None = None,
        stop: Iterable[str] = (), seed: int | None = None, presence_penalty: float | None = None,
        frequency_penalty: float | None = None, extra: Mapping[str, Any] = ..., history: Iterable[Message] = (),
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (), max_tool_rounds: int = 8, output_retries: int = 1,
        fallback: Iterable[str] = (), retry: Retry | None = None, timeout: float | timedelta | None = None,
        cache: bool | float | timedelta | None = None, description: str = "", tags: Iterable[str] = (),
    ) -> None: ...
    @overload
    def __init__(
        self: Payload[U], name: str, *blocks: Block | str, model: str | None = None, output: type[U],
        temperature: float | None = None, max_tokens: int | None = None, top_p: float | None = None,
        stop: Iterable[str] = (), seed: int | None = None, presence_penalty: float | None = None,
        frequency_penalty: float | None = None, extra: Mapping[str, Any] = ..., history: Iterable[Message] = (),
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (), max_tool_rounds: int = 8, output_retries: int = 1,
        fallback: Iterable[str] = (), retry: Retry | None = None, timeout: float | timedelta | None = None,
        cache: bool | float | timedelta | None = None, description: str = "", tags: Iterable[str] = (),
    ) -> None: ...
    @overload
    def __init__(
        self: Payload[Any], name: str, *blocks: Block | str, model: str | None = None, output: Any,
        temperature: float | None = None, max_tokens: int | None = None, top_p: float | None = None,
        stop: Iterable[str] = (), seed: int | None = None, presence_penalty: float | None = None,
        frequency_penalty: float | None = None, extra: Mapping[str, Any] = ..., history: Iterable[Message] = (),
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (), max_tool_rounds: int = 8, output_retries: int = 1,
        fallback: Iterable[str] = (), retry: Retry | None = None, timeout: float | timedelta | None = None,
        cache: bool | float | timedelta | None = None, description: str = "", tags: Iterable[str] = (),
    ) -> None: ...
    @positional
    def __init__(
        self, name: str, *blocks: Block | str, model: str | None = None, output: Any = str,
        temperature: float | None = None, max_tokens: int | None = None, top_p: float | None = None,
        stop: Iterable[str] = (), seed: int | None = None, presence_penalty: float | None = None,
        frequency_penalty: float | None = None, extra: Mapping[str, Any] = FrozenDict(),
        history: Iterable[Message] = (), tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (),
        max_tool_rounds: int = 8, output_retries: int = 1, fallback: Iterable[str] = (), retry: Retry | None = None,
        timeout: float | timedelta | None = None, cache: bool | float | timedelta | None = None,
        description: str = "", tags: Iterable[str] = (),
    ) -> None:
        self._fill(
            name=name, blocks=_as_blocks(blocks, name), model=model, output=output, temperature=temperature,
            max_tokens=max_tokens, top_p=top_p, stop=stop, seed=seed, presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty, extra=extra, history=tuple(history), tools=tools,
            max_tool_rounds=max_tool_rounds, output_retries=output_retries, fallback=fallback, retry=retry,
            timeout=timeout, cache=cache, description=description, tags=tags,
        )
    # fmt: on

    @field_validator("output")
    @classmethod
    def _is_output(cls, output: Any) -> Any:
        if isinstance(output, Mapping):
            return freeze(to_data(output, where="output"))
        return str if output == "str" else check_type(output)

    @field_serializer("output", when_used="json")
    def _output_in_json(self, output: Any) -> Any:
        """In JSON a type is the schema it stands for; text is `str`."""
        return "str" if output is str else to_data(json_schema(output))

    @field_validator("retry", mode="before")
    @classmethod
    def _is_retry(cls, given: object) -> object:
        if isinstance(given, int):
            raise ValueError(f"takes a Retry: write Retry(attempts={given})")
        return given

    @field_validator("cache", mode="before")
    @classmethod
    def _is_cache(cls, given: object) -> object:
        if given is not None and not isinstance(given, bool | int | float | timedelta):
            raise ValueError("takes True, False, seconds or a timedelta; where answers are kept, the orchestrator says")
        return given

    @field_validator("tools", mode="before")
    @classmethod
    def _are_tools(cls, given: object) -> object:
        tools = several(given)
        if not isinstance(tools, tuple):
            return tools
        made = tuple(as_tool(item) for item in cast("tuple[Any, ...]", tools))  # Any: as_tool refuses what is none
        twice = [tool.name for index, tool in enumerate(made) if tool.name in {other.name for other in made[:index]}]
        if twice:
            raise ValueError(f"two tools are named {twice[0]!r}; give one another name with @tool(name=...)")
        return made

    @field_serializer("tools", when_used="json")
    def _tools_in_json(self, tools: tuple[Tool[..., Any], ...]) -> Any:
        """In JSON a tool is what a model is told of it."""
        return [{"name": tool.name, "description": tool.description, "schema": to_data(tool.schema)} for tool in tools]

    @field_validator("stop", "fallback", "tags", mode="before")
    @classmethod
    def _no_bare_text(cls, given: object) -> object:
        return several(given)

    @cached_property
    def settings(self) -> Settings:
        """The sampling settings that are set."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    @cached_property
    def variables(self) -> frozenset[str]:
        """Every root name the blocks read, those with defaults included."""
        return frozenset[str]().union(*(block.variables for block in self.blocks))

    @cached_property
    def defaults(self) -> frozenset[str]:
        """Variables that every block reading them has a default for."""
        needed = {name for block in self.blocks for name in block.variables - block.default_data.keys()}
        return self.variables - needed

    @cached_property
    def timeout_s(self) -> float | None:
        """The timeout in seconds."""
        return seconds(self.timeout)

    def render(self, **values: Any) -> list[Message]:
        """The messages with their variables filled in, as they would be sent.

        Raises:
            TemplateError: A variable has neither a value nor a default, or a template fails on these values.
            ValueRefused: A value is not data.
        """
        return self.render_data({name: to_data(value, where=f"variable {name!r}") for name, value in values.items()})

    def render_data(self, values: Mapping[str, Data]) -> list[Message]:
        """The same for values that are data already."""
        blocks = self.blocks
        if len(blocks) == 1:  # the usual case pays nothing for the grouping
            message = Message.plain(blocks[0].role, blocks[0].render_data(values))
            return [*self.history, message] if self.history else [message]
        messages = [
            Message.plain(role, "\n\n".join(block.render_data(values) for block in blocks))
            for role, blocks in groupby(self.blocks, key=_role)
        ]
        return [*messages[:-1], *self.history, *messages[-1:]]

    def using(self, **changes: Unpack[PayloadChanges]) -> Payload[T]:
        """A changed copy; what is left out is kept, None unsets.

        Raises:
            TypeError: A field that Payload does not have.
            pydantic.ValidationError: A value of the wrong type.
        """
        unknown = sorted(changes.keys() - Payload.model_fields.keys())
        if unknown:
            raise TypeError(f"Payload has no field {unknown[0]!r}; it has {', '.join(Payload.model_fields)}")
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        if "blocks" in changes:
            fields["blocks"] = _as_blocks(changes["blocks"], self.name)
        return cast("Payload[T]", Payload.model_validate(fields))

    async def run(self, **values: Any) -> Response[T]:
        """Send it on the default orchestrator and give the answer.

        Raises:
            LLMOrchError: What went wrong; see the error tree.
        """
        return cast("Response[T]", await door.current().respond(self, values))

    def run_sync(self, **values: Any) -> Response[T]:
        """`run` for code that is not async; works in scripts, running loops and notebooks."""
        return cast("Response[T]", door.current().respond_sync(self, values))


def _role(block: Block) -> Role:
    return block.role


def own_name(payload: str, position: int) -> str:
    """What a block given as plain text is called, by its payload's name and its position from 1."""
    return f"{payload}-{position}"


def _as_blocks(given: Iterable[Block | str], payload: str) -> tuple[Block, ...]:
    if isinstance(given, str):
        raise TypeError(f"blocks takes several: write [{given!r}]")
    return tuple(
        block if isinstance(block, Block) else Block(own_name(payload, position), block)
        for position, block in enumerate(given, 1)
    )
