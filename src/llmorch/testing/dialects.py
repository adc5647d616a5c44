"""What makes valid answers of a model server, in the dialects of four vendors.

Servers that play tricks need the plain truth first: `DIALECTS["anthropic"]` writes whole answers, streams, model lists
and errors as that vendor does, and reads what a request asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from . import _dialect_anthropic, _dialect_gemini, _dialect_ollama, _dialect_openai
from ._dialect_parts import Asked, Said, compact

__all__ = ["DIALECTS", "Asked", "Dialect", "Said"]


class _Streaming(Protocol):
    def __call__(self, said: Said, pieces: Sequence[str], /, *, usage: bool, end: bool) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one vendor's server speaks.

    Attributes:
        name: The provider's name.
        root: What stands behind the origin in the provider's base address.
        chat_path: Where an answer is asked for, behind the origin; `{model}` stands for the model's name.
        stream_path: Where a stream is asked for.
        models_path: Where the models are listed.
        stream_kind: The content type of a stream.
        terminal: What the event that ends an answer holds.
        whole: The body of an answer in one piece.
        model_list: The body of a list of models, of at least one name.
        error_body: The body of an error with that status.
        asked: What a request with that method, path and body asks for.

    Example:
        >>> ollama = DIALECTS["ollama"]
        >>> ollama.whole(Said("hi"))["message"]["content"]
        'hi'
        >>> ollama.stream(Said("hi"), ["h", "i"]).count(b"\\n")
        3
        >>> ollama.asked("POST", "/api/chat", b'{"stream": false}').is_streamed
        False
    """

    name: str
    root: str
    chat_path: str
    stream_path: str
    models_path: str
    stream_kind: str
    terminal: bytes
    whole: Callable[[Said], dict[str, Any]]
    model_list: Callable[[Sequence[str]], dict[str, Any]]
    error_body: Callable[[int, str], dict[str, Any]]
    asked: Callable[[str, str, bytes], Asked]
    _events: _Streaming

    def events(
        self, said: Said, pieces: Sequence[str] | None = None, *, usage: bool = True, end: bool = True
    ) -> list[bytes]:
        """The stream of an answer, one element per event or line.

        Args:
            pieces: The text in pieces; default one piece per word.
            usage: Whether it tells the tokens.
            end: Whether its terminal events come.
        """
        return self._events(said, _words(said.text) if pieces is None else pieces, usage=usage, end=end)

    def stream(self, said: Said, pieces: Sequence[str] | None = None, *, usage: bool = True, end: bool = True) -> bytes:
        """The same in one piece of bytes."""
        return b"".join(self.events(said, pieces, usage=usage, end=end))

    def error_event(self, status: int, message: str) -> bytes:
        """An error in the middle of a stream."""
        body = compact(self.error_body(status, message))
        if self.stream_kind != "text/event-stream":
            return f"{body}\n".encode()
        return f"{'event: error' + chr(10) if self.name == 'anthropic' else ''}data: {body}\n\n".encode()


def _words(text: str) -> list[str]:
    """Words with the blanks behind them; they add up to the text."""
    first, *rest = text.split(" ")
    return [piece for piece in (first, *(f" {word}" for word in rest)) if piece]


_SSE = "text/event-stream"

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "openai": Dialect(
            "openai",
            "/v1",
            "/v1/chat/completions",
            "/v1/chat/completions",
            "/v1/models",
            _SSE,
            b'"finish_reason":"',
            _dialect_openai.whole,
            _dialect_openai.model_list,
            _dialect_openai.error_body,
            _dialect_openai.asked,
            _dialect_openai.stream,
        ),
        "anthropic": Dialect(
            "anthropic",
            "",
            "/v1/messages",
            "/v1/messages",
            "/v1/models",
            _SSE,
            b'"type":"message_stop"',
            _dialect_anthropic.whole,
            _dialect_anthropic.model_list,
            _dialect_anthropic.error_body,
            _dialect_anthropic.asked,
            _dialect_anthropic.stream,
        ),
        "gemini": Dialect(
            "gemini",
            "",
            "/v1beta/models/{model}:generateContent",
            "/v1beta/models/{model}:streamGenerateContent",
            "/v1beta/models",
            _SSE,
            b'"finishReason":"',
            _dialect_gemini.whole,
            _dialect_gemini.model_list,
            _dialect_gemini.error_body,
            _dialect_gemini.asked,
            _dialect_gemini.stream,
        ),
        "ollama": Dialect(
            "ollama",
            "",
            "/api/chat",
            "/api/chat",
            "/api/tags",
            "application/x-ndjson",
            b'"done":true',
            _dialect_ollama.whole,
            _dialect_ollama.model_list,
            _dialect_ollama.error_body,
            _dialect_ollama.asked,
            _dialect_ollama.stream,
        ),
    }
)
"""By the provider's name."""
