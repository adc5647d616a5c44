"""Blocks from a folder of text files with front matter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .documents import DocumentInvalid
from .errors import TemplateError
from .models.block import Block

__all__ = ["MAX_FILES", "blocks_in"]

MAX_FILES: Final = 10_000
_MAX_BYTES: Final = 1 << 20
_SUFFIXES: Final = (".md", ".txt", ".j2")


def blocks_in(folder: str | os.PathLike[str], *, into: str = "", max_files: int = MAX_FILES) -> list[Block]:
    """A block for each `.md`, `.txt` and `.j2` file, in order of their paths; folders inside become folders.

    Files that begin with a dot or are no plain files are passed over, and links to folders are not followed.

    Args:
        into: The folder of the library that stands for this one.
        max_files: More are refused.

    Raises:
        OSError: The folder or a file cannot be read.
        DocumentInvalid: Files that are no blocks, each with its path; two blocks of one name in one folder; too many
            files, or one larger than 1 MiB.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{str(root)!r} is no folder to load blocks from")
    blocks: dict[tuple[str, str], tuple[Block, Path]] = {}
    faults: list[str] = []
    for count, path in enumerate(_files(root), 1):
        if count > max_files:
            raise DocumentInvalid(f"{root} holds more than {max_files} text files; load its folders one by one")
        try:
            block = _block(path, "/".join(part for part in (into, *path.relative_to(root).parent.parts) if part))
        except (ValueError, TypeError, TemplateError) as error:
            text = str(error)
            faults.append(text if str(path) in text else f"{path}: {text}")
            continue
        other = blocks.setdefault((block.folder, block.name), (block, path))
        if other[1] != path:
            where = f" of folder {block.folder!r}" if block.folder else ""
            faults.append(f"{path}: block {block.name!r}{where} is in {other[1]} as well; rename one of them")
    if faults:
        raise DocumentInvalid(faults=faults)
    return [block for block, _ in blocks.values()]


def _files(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root, onerror=_raise):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in _SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _raise(error: OSError) -> None:
    raise error


def _block(path: Path, folder: str) -> Block:
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes; {_MAX_BYTES} is the most for a block")
    block = Block.from_file(path)
    return block if block.folder or not folder else block.model_copy(update={"folder": folder})
