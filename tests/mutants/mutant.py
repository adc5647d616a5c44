"""What a mutant is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.architecture.tree import SOURCE

__all__ = ["PACKAGE", "Mutant", "Unfit"]

PACKAGE = SOURCE / "llmorch"


class Unfit(Exception):
    """The table does not fit the source any more; the text says where."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug to be put into a copy of the package.

    Attributes:
        name: Two or three words with hyphens.
        breaks: What goes wrong, in one sentence.
        file: Path below `src/llmorch`.
        edits: Texts that stand exactly once in the file, and what stands there instead.
        caught_by: Tests that must fail, each by itself: `path::test`, with `[parameters]` where not all are wanted.
    """

    name: str
    breaks: str
    file: str
    edits: tuple[tuple[str, str], ...]
    caught_by: tuple[str, ...]

    def applied(self, package: Path = PACKAGE) -> str:
        """The text of the file with the bug in it.

        Raises:
            Unfit: A text does not stand there once, or what comes of it is no Python.
        """
        text = (package / self.file).read_text(encoding="utf-8")
        for old, new in self.edits:
            count = text.count(old)
            if count != 1:
                raise Unfit(f"{self.name}: {self.file} has {count} times, not once: {old!r}")
            text = text.replace(old, new)
        try:
            compile(text, self.file, "exec")
        except SyntaxError as error:
            raise Unfit(f"{self.name}: {self.file} would be no Python: {error}") from None
        return text
