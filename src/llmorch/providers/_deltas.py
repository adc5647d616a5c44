"""The text of a streamed answer, piece by piece: what is told to the caller adds up to what the answer holds."""

from __future__ import annotations

from collections.abc import Callable

from ._loose_json import mended

__all__ = ["Deltas"]


class Deltas:
    """Collects text and tells of it once for each read of the network.

    Half of a surrogate pair waits for the other half.

    Example:
        >>> told = []
        >>> deltas = Deltas(told.append)
        >>> deltas.add("one "), deltas.add("two"), deltas.flush(), deltas.add("\\ud83d"), deltas.flush()
        (None, None, None, None, None)
        >>> deltas.add("\\ude00"), deltas.close() == "one two\\U0001f600", told == ["one two", "\\U0001f600"]
        (None, True, True)
    """

    __slots__ = ("_half", "_on_delta", "_parts", "_told")

    def __init__(self, on_delta: Callable[[str], None]) -> None:
        self._on_delta = on_delta
        self._parts: list[str] = []
        self._told = 0
        self._half = ""

    def add(self, text: str) -> None:
        """Take a piece of the answer."""
        self._parts.append(text)

    def flush(self) -> None:
        """Tell of what came since the last time."""
        if len(self._parts) == self._told:
            return
        text = "".join(self._parts[self._told :])
        self._told = len(self._parts)
        if self._half or not text.isascii():
            text = self._half + text
            self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
            text = mended(text[:-1] if self._half else text)
        if text:
            self._on_delta(text)

    def close(self) -> str:
        """The whole text; what still waited is told of."""
        self.flush()
        if self._half:
            half, self._half = self._half, ""
            self._on_delta(mended(half))
        return mended("".join(self._parts))
