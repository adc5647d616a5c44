"""Reads the parts of a document: collects every fault with its place instead of stopping at the first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from ..errors import CodeMissing, WorkflowInvalid
from ..models.values import Data
from ..templates.bounds import is_list
from .names import did_you_mean

__all__ = ["Reader", "number_from", "number_to"]

C = TypeVar("C", bound=str)
_ENDLESS: Final = "inf"


def number_to(value: float | None) -> float | str | None:
    """A span of time as it stands in a document: JSON has no number without end, so that is the text `inf`."""
    return _ENDLESS if value == math.inf else value


def number_from(given: Data) -> Data:
    """What `number_to` wrote, as the number it was; anything else as it is."""
    return math.inf if given == _ENDLESS else given


class Reader:
    """Faults and missing code found so far, and the readers of simple values.

    Attributes:
        names: Steps and inputs of the workflow being read, by their spelling in templates.
    """

    def __init__(self, code: Mapping[str, object]) -> None:
        self.code = code
        self.faults: list[str] = []
        self.missing: list[str] = []
        self.names: dict[str, str] = {}

    def fault(self, at: str, text: str) -> None:
        """Note what is wrong, and where in the document."""
        self.faults.append(f"{at}: {text}" if at else text)

    def finish(self, name: str) -> None:
        """Raise what was found, if anything was.

        Raises:
            CodeMissing: The document is sound as far as it could be read, but code is not at hand.
            WorkflowInvalid: The document has faults.
        """
        if self.missing and len(self.faults) == len(self.missing):
            names = ", ".join(dict.fromkeys(self.missing))
            raise CodeMissing(
                f"the document names {names}, which is not at hand; documents never import code, so pass it as "
                "code={'module:name': the function or type}, or give the Orchestrator the workflow that has it"
            )
        if self.faults:
            raise WorkflowInvalid(faults=self.faults, workflow=name)

    def code_at(self, given: Data, at: str) -> object | None:
        """The function or type that `{python: "module:qualname"}` names."""
        fields = self.mapping(given, at, known=("python",), required=("python",))
        if fields is None:
            return None
        address = self.text(fields.get("python"), f"{at}.python")
        if address and address not in self.code:
            self.missing.append(address)
            self.fault(at, f"{address} is not at hand")
        return self.code.get(address)

    def type_like(self, given: Data) -> Any:  # Any: a type, a union, anything an annotation can be
        """A type at hand that stands in documents like this, or None; for readers that have more than addresses."""
        return None

    def mapping(
        self, given: Data, at: str, *, known: Sequence[str] | None = None, required: Sequence[str] = ()
    ) -> dict[str, Data] | None:
        """A mapping with only these keys, or None with a fault."""
        spot = at.rstrip(".")
        if not isinstance(given, dict):
            self.fault(spot, f"{_shown(given)} stands where a mapping belongs")
            return None
        fields = cast("dict[str, Data]", given)
        for key in fields if known is not None else ():
            if known is not None and key not in known:
                self.fault(spot, f"unknown key {key!r}{did_you_mean(key, known)}")
        lacking = [key for key in required if key not in fields]
        if lacking:
            self.fault(spot, f"{', '.join(map(repr, lacking))} must be given")
            return None
        return fields

    def sequence(self, given: Data, at: str) -> list[Data]:
        """A list, or an empty one with a fault."""
        if is_list(given):
            return given
        self.fault(at, f"{_shown(given)} stands where a list belongs")
        return []

    def text(self, given: Data, at: str) -> str:
        """Text, or an empty one with a fault."""
        if isinstance(given, str):
            return given
        self.fault(at, f"{_shown(given)} stands where text belongs")
        return ""

    def flag(self, given: Data, at: str) -> bool:
        """True or false."""
        if isinstance(given, bool):
            return given
        self.fault(at, f"{_shown(given)} stands where true or false belongs")
        return False

    def number(self, given: Data, at: str) -> float | None:
        """A number or nothing."""
        given = number_from(given)
        if given is None or (isinstance(given, int | float) and not isinstance(given, bool)):
            return given
        self.fault(at, f"{_shown(given)} stands where a number belongs")
        return None

    def integer(self, given: Data, at: str) -> int | None:
        """A whole number or nothing."""
        if given is None or (isinstance(given, int) and not isinstance(given, bool)):
            return given
        self.fault(at, f"{_shown(given)} stands where a whole number belongs")
        return None

    def choice(self, given: Data, at: str, *words: C) -> C:
        """One of these words; the first with a fault."""
        for word in words:
            if isinstance(given, str) and given == word:
                return word
        self.fault(at, f"{_shown(given)} stands where {' or '.join(map(repr, words))} belongs")
        return words[0]


def _shown(given: Data) -> str:
    if given is None:
        return "nothing"
    text = repr(given)
    return text if len(text) <= 40 else f"{text[:37]}..."
