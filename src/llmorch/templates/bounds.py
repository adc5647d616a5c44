"""How much a template may do: counted work, and limits of size and depth.

Work is counted, not timed, so that a template that renders once renders always. One unit stands for about 50 ns:

| what | units |
|---|---|
| one turn of a loop | 5, and 1 to 6 for each syntax node of its body |
| one item visited by a comparison, JSON or a filter | 2, in filters that compute up to 40 |
| 64 characters copied or searched | 1 |
| 16 characters transformed (`upper`, JSON ...) | 1; twice that outside of ASCII, more in slow filters |

A render may spend 500 000: 100 000 empty turns, or one transformation of 8 million characters.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn, TypeGuard

from ..errors import TemplateError

__all__ = [
    "MAX_BITS",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_LOOPS",
    "MAX_SOURCE",
    "MAX_TEXT",
    "MAX_TOKENS",
    "MAX_WORK",
    "TURN",
    "Data",
    "Work",
    "check_output",
    "check_size",
    "is_list",
    "is_object",
]

Data = Any  # JSON data; a recursive alias narrows nothing that callers may rely on

MAX_SOURCE: Final = 256 * 1024  # characters of a template; reading 4 MiB of them takes a quarter of a second
MAX_TEXT: Final = 4 * 1024 * 1024  # any text made on the way (characters), and the output (UTF-8 bytes)
MAX_WORK: Final = 500_000
TURN: Final = 5
MAX_ITEMS: Final = 100_000  # of a list that a template makes
MAX_DEPTH: Final = 64  # of nested tags, brackets and operators
MAX_LOOPS: Final = 12  # nested in one another; Python itself stops at 20
MAX_TOKENS: Final = 3_000  # of code, not of text: about 750 holes, read in less than 0.1 s
MAX_BITS: Final = 4096  # of a whole number that a template computes


def is_list(value: Data) -> TypeGuard[list[Data]]:
    """True for a list, and for a tuple, which is one that nobody may change."""
    return isinstance(value, list | tuple)


def is_object(value: Data) -> TypeGuard[dict[str, Data]]:
    """True for a mapping of JSON data."""
    return isinstance(value, dict)


class Work:
    """What is left of a render's allowance."""

    left: int

    def spend(self, units: int) -> None:
        """Take units from the allowance.

        Raises:
            TemplateError: Nothing is left.
        """
        self.left -= units
        if self.left < 0:
            _too_much()

    def copied(self, count: int) -> None:
        """Charge for characters that are copied or searched."""
        self.spend(1 + (count >> 6))

    def transformed(self, count: int) -> None:
        """Charge for characters that are looked at one by one."""
        self.spend(1 + (count >> 4))

    def visited(self, count: int) -> None:
        """Charge for items."""
        self.spend(1 + 2 * count)

    def weigh(self, value: Data) -> int:
        """Charge for every item and character of a value, at any depth; gives the number of characters.

        A list that holds the same list twice is counted twice: that is how its text grows.
        """
        if isinstance(value, str):
            self.copied(len(value))
            return len(value)
        total = 0
        open_containers: list[Data] = [value] if is_list(value) or is_object(value) else []
        while open_containers:
            container = open_containers.pop()
            characters = sum(map(len, container)) if is_object(container) else 0
            for item in container.values() if is_object(container) else container:
                if isinstance(item, str):
                    characters += len(item)
                elif isinstance(item, (list, tuple, dict)):
                    open_containers.append(item)
            self.spend(8 + 2 * len(container) + (characters >> 6))
            total += characters
        return total


def _too_much() -> NoReturn:
    raise TemplateError(
        "the template does more work than one render may (about 100 000 loop turns); "
        "loop over fewer items, or shape the data in a Python step before"
    )


def check_size(characters: int) -> None:
    """Refuse text that would be longer than a template may make.

    Raises:
        TemplateError: It would.
    """
    if characters > MAX_TEXT:
        raise TemplateError(
            f"the template makes a text of {characters} characters, more than the {MAX_TEXT} allowed; "
            "pass less in, or cut it with truncate"
        )


def check_output(text: str) -> str:
    """The text, when it fits the bound in UTF-8 too.

    Raises:
        TemplateError: It does not fit.
    """
    if 4 * len(text) > MAX_TEXT and not text.isascii():
        check_size(len(text.encode("utf-8", "surrogatepass")))
    else:
        check_size(len(text))
    return text
