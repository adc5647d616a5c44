"""Reading and running the Python blocks of a Markdown page."""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

import anyio

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_OUTPUT = re.compile(r'text\s+title="Output"\s*')
_REASON = re.compile(r"<!--\s*no-run:\s*\S.*-->")
_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass(frozen=True)
class CodeBlock:
    """A fenced Python block.

    Attributes:
        line: Its first line of code.
        runs: False under `no-run`.
        output: What it must print, when a `text title="Output"` block follows it; `...` stands for anything.
    """

    code: str
    line: int
    runs: bool
    output: str | None = None


def python_blocks(text: str) -> list[CodeBlock]:
    """The Python blocks of a page, in order.

    Raises:
        ValueError: A fence is never closed, or a `no-run` fence has no `<!-- no-run: reason -->` line above it.
    """
    blocks: list[CodeBlock] = []
    last = -1  # the row at which the latest Python block ended
    lines = text.splitlines()
    row = 0
    while row < len(lines):
        opening = _FENCE.match(lines[row])
        if opening is None:
            row += 1
            continue
        closing = re.compile(rf"[ \t]*{re.escape(opening['fence'][0])}{{{len(opening['fence'])},}}[ \t]*$")
        end = next((number for number in range(row + 1, len(lines)) if closing.match(lines[number])), None)
        if end is None:
            raise ValueError(f"line {row + 1}: this fence is never closed")
        language, *options = opening["info"].split()[:2] or [""]
        if language in {"python", "py"}:
            runs = "no-run" not in options
            if not runs and not _REASON.search("\n".join(lines[max(row - 2, 0) : row])):
                raise ValueError(f"line {row + 1}: write the reason above it: <!-- no-run: why -->")
            blocks.append(CodeBlock(textwrap.dedent("\n".join(lines[row + 1 : end])), row + 2, runs))
            last = end
        elif _OUTPUT.fullmatch(opening["info"]):
            if last < 0 or "".join(lines[last + 1 : row]).strip() or not blocks[-1].runs:
                raise ValueError(f"line {row + 1}: this output follows no Python block that runs")
            blocks[-1] = replace(blocks[-1], output=textwrap.dedent("\n".join(lines[row + 1 : end])))
        row = end + 1
    return blocks


def run_blocks(blocks: Iterable[CodeBlock], page: Path) -> dict[str, Any]:
    """Run the blocks in order in one namespace, `await` at the top level included, and give the namespace.

    Raises:
        AssertionError: A block prints something else than the page shows.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(page)}
    for block in blocks:
        if not block.runs:
            continue
        source = "\n" * (block.line - 1) + block.code
        compiled = compile(source, str(page), "exec", flags=_TOP_LEVEL_AWAIT, dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            _run(compiled, namespace)
        if block.output is not None:
            _compare(block, printed.getvalue(), page)
    return namespace


def _run(compiled: CodeType, namespace: dict[str, Any]) -> None:
    if compiled.co_flags & inspect.CO_COROUTINE:

        async def main() -> None:
            await eval(compiled, namespace)

        anyio.run(main)
    else:
        exec(compiled, namespace)


def _compare(block: CodeBlock, printed: str, page: Path) -> None:
    assert block.output is not None
    wanted, got = (_trimmed(text) for text in (block.output, printed))
    if not doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS):
        raise AssertionError(f"{page}:{block.line} prints\n{got}\nbut the page shows\n{wanted}")


def _trimmed(text: str) -> str:
    """The text without spaces at line ends and empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
