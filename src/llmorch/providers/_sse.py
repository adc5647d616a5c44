"""Server-sent events out of raw bytes.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (2026-02), with two limits of our own: a line and
an event hold at most 1 MiB.
"""

from __future__ import annotations

__all__ = ["EventSplitter", "LineTooLong"]

_MAX_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class LineTooLong(ValueError):
    """A line or an event holds more than the limit."""


class EventSplitter:
    """Cuts a byte stream into the data of its events, however the network cut it.

    Lines end at LF, CR or CRLF and nowhere else. Comments, other fields and events without data are left out. An event
    is complete at its blank line; at the end of the stream the last one needs only its own line to be complete.

    Args:
        max_bytes: Most bytes of a line and of an event's data.

    Example:
        >>> splitter = EventSplitter()
        >>> splitter.feed(b"data: on"), splitter.feed(b"e\\n\\ndata: two\\n")
        ([], [b'one'])
        >>> splitter.end()
        [b'two']
    """

    __slots__ = ("_after_cr", "_data", "_max_bytes", "_open_line", "_size", "_started")

    def __init__(self, *, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._open_line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events these bytes complete.

        Raises:
            LineTooLong: A line or an event is over the limit.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not cut:
            self._keep(chunk)
            return []
        whole = chunk[:cut]
        if self._open_line:
            whole = bytes(self._open_line) + whole
            self._open_line.clear()
        self._keep(chunk[cut:])
        if not self._started:
            self._started = True
            whole = whole.removeprefix(_BOM)
        self._after_cr = chunk[-1:] == b"\r"  # an LF that comes next belongs to it
        return self._events(whole)

    def _keep(self, part: bytes) -> None:
        self._open_line += part
        if len(self._open_line) > self._max_bytes:
            raise LineTooLong(f"a line of the stream holds more than {self._max_bytes} bytes")

    def _events(self, whole: bytes) -> list[bytes]:
        events: list[bytes] = []
        data = self._data
        for line in whole.splitlines():  # of bytes: LF, CR and CRLF only
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
                    self._size = 0
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._size += len(value) + 1
                if self._size > self._max_bytes + 1:
                    raise LineTooLong(f"an event of the stream holds more than {self._max_bytes} bytes")
                data.append(value)
            elif line == b"data":
                data.append(b"")
        return [event for event in events if event] if b"" in events else events

    def end(self) -> list[bytes]:
        """The last event, when its line is complete and only the blank line is missing."""
        events = self._events(b"\n")
        self._open_line.clear()
        return events
