"""Read a text file.

Parameters:
    path (str): The file; a relative path starts at the working directory.
    encoding (str, optional): How the text is written; utf-8 unless given.

Returns:
    An object with `content`, `path` and `size`, in characters.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["read_file"]


def read_file(path: str, encoding: str = "utf-8") -> dict[str, Any]:
    """The text of a file.

    Args:
        path: The file; a relative path starts at the working directory.
        encoding: How the text is written.

    Returns:
        `content`, `path` and `size` (characters).

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not written in that encoding.

    Example:
        >>> Path("note.txt").write_text("two words", encoding="utf-8")
        9
        >>> read_file("note.txt")["content"]
        'two words'
    """
    content = Path(path).read_text(encoding=encoding)
    return {"content": content, "path": str(path), "size": len(content)}


if __name__ == "__main__":
    sys.exit(serve(read_file, input_as="path"))
