"""Whatever a server sends, the parsers give an answer or one of our errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmorch.errors import ProviderError
from llmorch.providers._chat_answer import StreamReader, read_answer
from llmorch.providers._classify import Origin, error_for
from llmorch.requests import ProviderResponse

ORIGIN = Origin("openai", "host", "m", "KEY")
NAMES = st.sampled_from(
    [
        *("choices", "message", "delta", "content", "refusal", "tool_calls", "function", "name", "arguments", "id"),
        *("index", "finish_reason", "usage", "error", "type", "code", "status", "detail", "model", "text"),
        *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 500),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=5),
    st.sampled_from(["stop", "tool_calls", "content_filter", "429", "\ud83d"]),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": SCALARS,
        "message": JSON,
        "delta": st.fixed_dictionaries({}, optional={"content": JSON, "refusal": JSON, "tool_calls": JSON}) | JSON,
        "finish_reason": SCALARS,
    },
)
BODY = JSON | st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=2)}, optional={"usage": JSON, "model": SCALARS, "error": JSON}
)


@contextlib.contextmanager
def suppressed() -> Iterator[None]:
    """Lets our errors pass, when their text can be stored."""
    try:
        yield
    except ProviderError as error:
        error.message.encode()


def check(answer: ProviderResponse) -> None:
    f"{answer.text}{answer.model}{answer.raw}".encode()
    assert answer.finish_reason in {"stop", "length", "tool_calls", "other"}
    for call in answer.tool_calls:
        f"{call.id}{call.name}{call.arguments}".encode()


@given(BODY, st.booleans())
def test_any_json_is_an_answer_or_an_error(body: Any, wrapped: bool) -> None:
    with suppressed():
        check(read_answer(json.dumps(body).encode(), ORIGIN, wrapped=wrapped))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    with suppressed():
        check(read_answer(body, ORIGIN))


@given(st.lists(BODY, max_size=5), st.booleans(), st.booleans())
def test_any_stream_is_an_answer_or_an_error_and_its_pieces_add_up(
    chunks: list[Any], wrapped: bool, done: bool
) -> None:
    pieces: list[str] = []
    reader = StreamReader(ORIGIN, pieces.append, wrapped=wrapped)
    with suppressed():
        for chunk in chunks:
            reader.feed(f"data: {json.dumps(chunk)}\n\n".encode())
        if done:
            reader.feed(b"data: [DONE]\n\n")
        answer = reader.response()
        check(answer)
        assert "".join(pieces) == answer.text


@given(BODY, st.integers(201, 599))
def test_any_error_body_gives_an_error_with_the_remedy(body: Any, status: int) -> None:
    error = error_for(ORIGIN, status=status, headers={}, body=json.dumps(body).encode())
    assert error.status == status
    assert "openai at host" in error.message
    error.message.encode()
