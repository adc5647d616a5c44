"""Reading and running the Python blocks of a Markdown page."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_REASON = re.compile(r"<!--\s*no-run:\s*\S.*-->")
_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@dataclass(frozen=True)
class CodeBlock:
    """A fenced Python block: `line` is its first line of code, `runs` is False under `no-run`."""

    code: str
    line: int
    runs: bool


def python_blocks(text: str) -> list[CodeBlock]:
    """The Python blocks of a page, in order.

    Raises:
        ValueError: A fence is never closed, or a `no-run` fence has no `<!-- no-run: reason -->` line above it.
    """
    blocks: list[CodeBlock] = []
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
        row = end + 1
    return blocks


def run_blocks(blocks: Iterable[CodeBlock], page: Path) -> dict[str, Any]:
    """Run the blocks in order in one namespace, `await` at the top level included, and give the namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(page)}
    for block in blocks:
        if not block.runs:
            continue
        source = "\n" * (block.line - 1) + block.code
        compiled = compile(source, str(page), "exec", flags=_TOP_LEVEL_AWAIT, dont_inherit=True)
        if compiled.co_flags & inspect.CO_COROUTINE:

            async def main(code: Any = compiled) -> None:
                await eval(code, namespace)

            anyio.run(main)
        else:
            exec(compiled, namespace)
    return namespace
