"""A program in a file as an action: JSON in, JSON out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Any, TypedDict, Unpack, cast

from pydantic import Field, field_validator

from .._clock import seconds
from .action import Action
from .base import FrozenData, Seconds, Value, positional, several
from .values import FrozenDict

__all__ = ["Script", "ScriptChanges"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ScriptChanges(TypedDict, total=False):
    """What `Script.using` may change; a field left out is kept, None unsets it."""

    path_or_name: str | PurePath
    parameters: Mapping[str, Any] | None  # Any: data of any shape
    interpreter: str | Iterable[str] | None
    timeout: float | timedelta | None
    pure: bool | None
    env: Iterable[str] | None


class Script(Value, Action[Any]):
    """A program in a file, started with JSON on its standard input; what it prints is the step's value.

    The file is looked for when the step runs, in the script folders of the orchestrator and among the scripts that come
    with llmorch. Making, planning or saving a Script opens and starts nothing.

    Args:
        path_or_name: `count_words`, `text/count-words.py`, or a path inside one of the script folders. `-` and `_` are
            the same in a name, and the extension may be left out.
        parameters: Data given to the script as its `parameters`.
        interpreter: The program that runs the file, with its arguments when it has some: `"python3.12"`,
            `["deno", "run"]`. Unset, it follows from the extension.
        timeout: Bound of one run, in seconds or as a timedelta; 60 s unless another is given.
        pure: The same input always gives the same output and nothing else happens, so that a result may be taken from
            the cache, and the start need not be recorded before it runs.
        env: Names of environment variables that the script is given besides the few every script gets; provider keys
            are not among those.

    Example:
        >>> pick = Script("json_extract", parameters={"fields": ["title"]}, timeout=5)
        >>> pick.name, pick.timeout_s
        ('json_extract', 5.0)
        >>> pick.using(timeout=None).timeout_s
        60.0
    """

    path_or_name: str = Field(min_length=1)
    parameters: FrozenData = FrozenDict()
    interpreter: str | Annotated[tuple[str, ...], Field(strict=False)] | None = None
    timeout: Seconds = 60.0
    pure: bool = False
    env: tuple[str, ...] = Field(default=(), strict=False)

    @positional
    def __init__(
        self,
        path_or_name: str | PurePath,
        *,
        parameters: Mapping[str, Any] = FrozenDict(),  # Any: data of any shape
        interpreter: str | Iterable[str] | None = None,
        timeout: float | timedelta = 60,
        pure: bool = False,
        env: Iterable[str] = (),
    ) -> None:
        self._fill(
            path_or_name=path_or_name,
            parameters=parameters,
            interpreter=interpreter,
            timeout=timeout,
            pure=pure,
            env=env,
        )

    @field_validator("path_or_name", mode="before")
    @classmethod
    def _is_path(cls, given: object) -> object:
        text = given.as_posix() if isinstance(given, PurePath) else given
        if isinstance(text, str) and "\0" in text:
            raise ValueError("holds a NUL character, which no path can")
        return text

    @field_validator("interpreter", mode="before")
    @classmethod
    def _is_command(cls, given: object) -> object:
        command = given if given is None or isinstance(given, str) else several(given)
        if command in ("", ()):
            raise ValueError("names no program; leave it out, and the file's extension decides")
        return command

    @field_validator("env", mode="before")
    @classmethod
    def _are_names(cls, given: object) -> object:
        names = several(given)
        for name in cast("tuple[object, ...]", names) if isinstance(names, tuple) else ():
            if isinstance(name, str) and not _VARIABLE.fullmatch(name):
                raise ValueError(f"takes names of environment variables, such as 'GITHUB_TOKEN', and not {name!r}")
        return cast("object", names)

    @cached_property
    def name(self) -> str:
        """What a step that runs it is called: the file's name without its extension."""
        stem = PurePath(self.path_or_name).stem.lower()
        return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_").lstrip("0123456789-_") or "script"

    @cached_property
    def timeout_s(self) -> float:
        """The timeout in seconds."""
        return float(seconds(self.timeout) or 0)

    def using(self, **changes: Unpack[ScriptChanges]) -> Script:
        """A changed copy; what is left out is kept, None unsets.

        Raises:
            TypeError: A field that Script does not have.
            pydantic.ValidationError: A value of the wrong type.
        """
        unknown = sorted(changes.keys() - Script.model_fields.keys())
        if unknown:
            raise TypeError(f"Script has no field {unknown[0]!r}; it has {', '.join(Script.model_fields)}")
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        return Script.model_validate(fields)
