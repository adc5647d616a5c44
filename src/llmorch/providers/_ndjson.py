"""Lines of JSON out of raw bytes.

Source: https://github.com/ndjson/ndjson-spec (2026-11), with a limit of our own: a line holds at most 1 MiB.
"""

from __future__ import annotations

from ._sse import LineTooLong

__all__ = ["LineSplitter"]

_MAX_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class LineSplitter:
    """Cuts a byte stream into its lines, however the network cut it.

    A line ends at LF, or CRLF, and nowhere else: U+2028 and a lone CR are part of it. Empty lines are left out.

    Args:
        max_bytes: Most bytes of a line.

    Example:
        >>> splitter = LineSplitter()
        >>> splitter.feed(b'{"a":'), splitter.feed(b'1}\\n\\n{"b":2}')
        ([], [b'{"a":1}'])
        >>> splitter.end()
        [b'{"b":2}']
    """

    __slots__ = ("_max_bytes", "_open_line", "_started")

    def __init__(self, *, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._open_line = bytearray()
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines these bytes complete.

        Raises:
            LineTooLong: A line is over the limit.
        """
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            self._keep(chunk)
            return []
        whole = chunk[:cut]
        if self._open_line:
            whole = bytes(self._open_line) + whole
            self._open_line.clear()
        self._keep(chunk[cut:])
        lines = self._lines(whole)
        if len(whole) > self._max_bytes and any(len(line) > self._max_bytes for line in lines):
            raise LineTooLong(f"a line of the stream holds more than {self._max_bytes} bytes")
        return lines

    def _keep(self, part: bytes) -> None:
        self._open_line += part
        if len(self._open_line) > self._max_bytes:
            raise LineTooLong(f"a line of the stream holds more than {self._max_bytes} bytes")

    def _lines(self, whole: bytes) -> list[bytes]:
        if not self._started:
            self._started = True
            whole = whole.removeprefix(_BOM)
        return [line for line in (part.strip(b"\r \t") for part in whole.split(b"\n")) if line]

    def end(self) -> list[bytes]:
        """What stands behind the last line end; JSON that was cut off there is no JSON, so nothing half is taken."""
        rest = bytes(self._open_line)
        self._open_line.clear()
        return self._lines(rest)
