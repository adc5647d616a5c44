"""Write a text to a file, making its folder when it is missing.

Parameters:
    path (str): The file; a relative path starts at the working directory. What it held is replaced.
    content (str): The text; the step's input unless given.
    encoding (str, optional): How the text is written; utf-8 unless given.

Returns:
    An object with `path`, `size`, in characters, and `bytes_written`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from llmorch.scripts.contract import serve

__all__ = ["write_file"]


def write_file(path: str, content: str, *, encoding: str = "utf-8") -> dict[str, Any]:
    """Write a text to a file; its folder is made when it is missing, and what the file held is replaced.

    Args:
        path: The file; a relative path starts at the working directory.
        content: The text, written as it is.
        encoding: How the text is written.

    Returns:
        `path`, `size` (characters) and `bytes_written`.

    Raises:
        OSError: The file cannot be written.
        ValueError: The text cannot be written in that encoding.

    Example:
        >>> write_file("notes/today.txt", "tea")
        {'path': 'notes/today.txt', 'size': 3, 'bytes_written': 3}
    """
    if not isinstance(content, str):
        raise ValueError(f"content must be text, and not {type(content).__name__}")
    encoded = content.encode(encoding)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(encoded)
    return {"path": str(path), "size": len(content), "bytes_written": len(encoded)}


if __name__ == "__main__":
    sys.exit(serve(write_file, input_as="content"))
