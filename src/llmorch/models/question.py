"""A question to a person."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Generic, cast, overload

from pydantic import Field, field_serializer, field_validator
from typing_extensions import TypeVar

from ..errors import TemplateError
from ..schema import check_type, json_schema
from ..templates import Template, compile_template
from ..templates.bounds import is_object
from .action import Action
from .base import Value, positional
from .values import Data, freeze, to_data

__all__ = ["APPROVAL_SCHEMA", "Approval", "Question", "is_granted"]

T = TypeVar("T", covariant=True, default=str)
U = TypeVar("U")


class Approval(Value):
    """A yes or no with a note, as an answer.

    Example:
        >>> Approval(approved=False, note="not before Monday").approved
        False
    """

    approved: bool
    note: str = ""


APPROVAL_SCHEMA: Final[Mapping[str, Data]] = {
    "anyOf": [
        {"type": "boolean"},
        {
            "type": "object",
            "properties": {"approved": {"type": "boolean"}, "note": {"type": "string"}},
            "required": ["approved"],
            "additionalProperties": False,
        },
    ]
}
"""What may answer the question whether a tool may be used: true, false, or an `Approval`."""


def is_granted(answer: Data) -> tuple[bool, str]:
    """What was said to such a question: yes or no, and the note.

    Example:
        >>> is_granted({"approved": False, "note": "too dear"})
        (False, 'too dear')
    """
    if is_object(answer):
        return answer.get("approved") is True, str(answer.get("note") or "")
    return answer is True, ""


class Question(Value, Action[T], Generic[T]):
    """A question to a person; as a step it waits for the answer without holding a process.

    Args:
        text: A template; the person reads it with its variables filled in.
        answer: What the answer must be: a type, a union, a Literal (one of several words) or a JSON schema;
            `Approval` is a yes or no with a note.
        name: The step's name, unless `add` is given another.

    Raises:
        TemplateError: The text does not parse.
        pydantic.ValidationError: A field of the wrong type.

    Example:
        >>> sorted(Question("Publish {{ title }}?", answer=bool, name="publish").variables)
        ['title']
    """

    text: str = Field(min_length=1)
    answer: Any = str  # Any: a type, a union, a Literal or a JSON schema
    name: str | None = Field(default=None, min_length=1)

    @overload
    def __init__(self: Question[str], text: str, *, name: str | None = None) -> None: ...
    @overload
    def __init__(self: Question[U], text: str, *, answer: type[U], name: str | None = None) -> None: ...
    @overload
    def __init__(self: Question[Any], text: str, *, answer: Any, name: str | None = None) -> None: ...
    @positional
    def __init__(self, text: str, *, answer: Any = str, name: str | None = None) -> None:
        self._fill(text=text, answer=answer, name=name)

    @field_validator("text")
    @classmethod
    def _parses(cls, text: str) -> str:
        try:
            compile_template(text)
        except TemplateError as error:  # no ValueError, so pydantic lets it through as it is
            raise TemplateError(f"Question {text[:40]!r}: {error.message}", line=error.line) from None
        return text

    @field_validator("answer")
    @classmethod
    def _is_answer(cls, answer: Any) -> Any:
        if isinstance(answer, Mapping):
            return freeze(to_data(answer, where="answer"))
        if answer == "str":
            return str
        json_schema(check_type(answer))  # an answer is checked by it, so there must be one
        return answer

    @field_serializer("answer", when_used="json")
    def _answer_in_json(self, answer: Any) -> Any:
        """In JSON a type is the schema it stands for; text is `str`."""
        return "str" if answer is str else to_data(json_schema(answer))

    @cached_property
    def template(self) -> Template:
        """The parsed text."""
        return compile_template(self.text)

    @cached_property
    def variables(self) -> frozenset[str]:
        """Every root name the text reads."""
        return self.template.names

    @cached_property
    def schema_data(self) -> dict[str, Data]:
        """JSON schema of the answer; it is recorded with the question, so that an answer is checked without code."""
        return cast("dict[str, Data]", to_data(json_schema(self.answer)))

    def render(self, **values: Any) -> str:
        """What the person reads.

        Raises:
            TemplateError: A variable has no value, or the template fails on these values.
            ValueRefused: A value is not data.
        """
        return self.render_data({name: to_data(value, where=f"variable {name!r}") for name, value in values.items()})

    def render_data(self, values: Mapping[str, Data]) -> str:
        """The same for values that are data already."""
        missing = self.variables - values.keys()
        if missing:
            names = ", ".join(repr(name) for name in sorted(missing))
            raise TemplateError(f"The question {self.text[:40]!r} needs {names}; pass what it reads by name")
        return self.template.render(values)
