"""A named piece of prompt text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from .._json import sha256
from ..errors import TemplateError
from ..templates import Template, compile_template
from .base import FrozenData, Value, positional, several
from .message import Role
from .values import Data, FrozenDict, to_data

__all__ = ["Block"]


class Block(Value):
    """A piece of prompt text: a template with a role, tags and a folder.

    Args:
        name: What people call it.
        text: A template; see "Templates" in the docs.
        role: `system`, `user` or `assistant`.
        tags: Words to find it by.
        folder: Where it stands in a library, such as `Phase 1/Instructions`.
        defaults: Variable -> value for variables nothing else gives.
        description: A sentence for people.

    Raises:
        TemplateError: The text does not parse; the message has the line.
        pydantic.ValidationError: A field of the wrong type.

    Example:
        >>> Block("greeting", "Hello {{ who }}!").render(who="Ada")
        'Hello Ada!'
    """

    name: str = Field(min_length=1)
    text: str
    role: Role = "user"
    tags: tuple[str, ...] = Field(default=(), strict=False)
    folder: str = ""
    defaults: FrozenData = FrozenDict()
    description: str = ""

    @positional
    def __init__(
        self,
        name: str,
        text: str,
        *,
        role: Role = "user",
        tags: Iterable[str] = (),
        folder: str = "",
        defaults: Mapping[str, Any] = FrozenDict(),  # Any: whatever the data rule takes
        description: str = "",
    ) -> None:
        self._fill(
            name=name,
            text=text,
            role=role,
            tags=tags,
            folder=folder,
            defaults=dict(defaults),
            description=description,
        )

    @field_validator("tags", mode="before")
    @classmethod
    def _several(cls, given: object) -> object:
        return several(given)

    @field_validator("text")
    @classmethod
    def _parses(cls, text: str, info: ValidationInfo) -> str:
        try:
            compile_template(text)
        except TemplateError as error:  # no ValueError, so pydantic lets it through as it is
            raise TemplateError(f"Block {info.data.get('name', '')!r}: {error.message}", line=error.line) from None
        return text

    @classmethod
    def from_file(cls, path: str | Path) -> Block:
        """A block from a text file, named after the file, with optional YAML front matter between `---` lines.

        Raises:
            OSError: The file cannot be read.
            ValueError: The front matter is no mapping, or names an unknown field.
        """
        from .front_matter import split

        file = Path(path)
        fields, text = split(file.read_text(encoding="utf-8-sig"), source=str(file))
        unknown = sorted(set(fields) - (set(cls.model_fields) - {"text"}))
        if unknown:
            raise ValueError(
                f"{file}: unknown field {unknown[0]!r} in the front matter; "
                f"known are {', '.join(sorted(set(cls.model_fields) - {'text'}))}"
            )
        return cls.model_validate({"name": file.stem, **fields, "text": text})

    @cached_property
    def template(self) -> Template:
        """The parsed text."""
        return compile_template(self.text)

    @cached_property
    def variables(self) -> frozenset[str]:
        """Every root name the text reads, those with defaults included."""
        return self.template.names

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the block says: role, text and defaults; the same on every machine."""
        return sha256({"role": self.role, "text": self.text, "defaults": to_data(self.defaults)})

    def render(self, **values: Any) -> str:
        """The text with its variables filled in.

        Raises:
            TemplateError: A variable has neither a value nor a default, or the template fails on these values.
            ValueRefused: A value is not data.
        """
        return self.render_data({name: to_data(value, where=f"variable {name!r}") for name, value in values.items()})

    def render_data(self, values: Mapping[str, Data]) -> str:
        """The same for values that are data already."""
        given = {**self.default_data, **values} if self.defaults else values
        if not given.keys() >= self.variables:
            missing = self.variables - given.keys()
            names = ", ".join(repr(name) for name in sorted(missing))
            raise TemplateError(
                f"Block {self.name!r} needs {names}; pass {'it' if len(missing) == 1 else 'them'} by name, "
                "or give the block defaults={...}"
            )
        try:
            return self.template.render(given)
        except TemplateError as error:
            raise TemplateError(f"Block {self.name!r}: {error.message}", line=error.line) from error

    @cached_property
    def default_data(self) -> dict[str, Data]:
        """The defaults as plain data."""
        return {name: to_data(value) for name, value in self.defaults.items()}
