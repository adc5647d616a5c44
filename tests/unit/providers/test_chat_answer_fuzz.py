"""Whatever a server sends, the parsers give an answer or one of our errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmorch.errors import ProviderError
from llmorch.models.message import Message, ToolCall
from llmorch.providers import azure, deepseek, mistral, openrouter, xai
from llmorch.providers._chat_answer import read_answer
from llmorch.providers._chat_dialect import ChatDialect
from llmorch.providers._chat_errors import error_in_own_words
from llmorch.providers._chat_stream import StreamReader
from llmorch.providers._chat_thinking import as_data
from llmorch.providers._chat_wire import ChatWire
from llmorch.providers._classify import Origin, error_for
from llmorch.providers._http import Reply
from llmorch.requests import ProviderRequest, ProviderResponse

DIALECTS = [
    ChatDialect(),
    azure._dialect("https://x.openai.azure.com", None, is_token=False),
    *(vendor._DIALECT for vendor in (deepseek, mistral, openrouter, xai)),
]
ORIGIN = Origin("openai", "host", "m", "KEY")
NAMES = st.sampled_from(
    [
        *("choices", "message", "delta", "content", "refusal", "tool_calls", "function", "name", "arguments", "id"),
        *("index", "finish_reason", "usage", "error", "type", "code", "status", "detail", "model", "text"),
        *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "total_tokens"),
        *("completion_tokens_details", "reasoning_tokens", "cache_write_tokens", "prompt_cache_hit_tokens"),
        *("reasoning_content", "reasoning", "reasoning_details", "thinking", "summary", "signature", "data"),
        *("metadata", "raw", "reasons", "innererror"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 500),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=5),
    st.sampled_from(["stop", "tool_calls", "content_filter", "error", "429", "\ud83d", "thinking", "reasoning.text"]),
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
    assert json.loads(json.dumps(answer.raw, allow_nan=False)) == answer.raw
    assert answer.finish_reason in {"stop", "length", "tool_calls", "other"}
    assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)
    for call in answer.tool_calls:
        f"{call.id}{call.name}{call.arguments}".encode()
    if "replay" in answer.raw:
        assert Message("assistant", "", vendor=answer.raw["replay"]).vendor


@given(BODY, st.booleans(), st.sampled_from(DIALECTS))
def test_any_json_is_an_answer_or_an_error(body: Any, wrapped: bool, dialect: ChatDialect) -> None:
    with suppressed():
        check(read_answer(json.dumps(body).encode(), ORIGIN, dialect=dialect, wrapped=wrapped))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    with suppressed():
        check(read_answer(body, ORIGIN))


@given(st.lists(BODY, max_size=5), st.booleans(), st.booleans(), st.sampled_from(DIALECTS))
def test_any_stream_is_an_answer_or_an_error_and_its_pieces_add_up(
    chunks: list[Any], wrapped: bool, done: bool, dialect: ChatDialect
) -> None:
    pieces: list[str] = []
    reader = StreamReader(ORIGIN, pieces.append, dialect=dialect, wrapped=wrapped)
    with suppressed():
        for chunk in chunks:
            reader.feed(f"data: {json.dumps(chunk)}\n\n".encode())
        if done:
            reader.feed(b"data: [DONE]\n\n")
        answer = reader.response()
        check(answer)
        assert "".join(pieces) == answer.text


@given(JSON, st.sampled_from(DIALECTS))
def test_whatever_a_message_brought_back_can_be_sent(vendor: Any, dialect: ChatDialect) -> None:
    call = ToolCall("x" * 50, "add", "{}")
    given = as_data(vendor)
    message = Message(
        "assistant", "a", tool_calls=[call], vendor=given if isinstance(given, dict) else {"thinking": given}
    )
    messages = (message, Message("tool", "5", tool_call_id=call.id))
    sent = ChatWire(dialect).sent(ProviderRequest("m", messages), ORIGIN, stream=False)
    asked, answered = json.loads(sent.body)["messages"]
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]


@given(BODY, st.integers(201, 599), st.sampled_from(DIALECTS))
def test_any_error_body_gives_the_vendors_error_or_is_left_to_the_common_rule(
    body: Any, status: int, dialect: ChatDialect
) -> None:
    reply = Reply(status, {}, json.dumps(body).encode())
    error = error_in_own_words(reply, ORIGIN, dialect.complaint)
    if error is not None:
        error.message.encode()
        assert "openai at host" in error.message


@given(BODY, st.integers(201, 599))
def test_any_error_body_gives_an_error_with_the_remedy(body: Any, status: int) -> None:
    error = error_for(ORIGIN, status=status, headers={}, body=json.dumps(body).encode())
    assert error.status == status
    assert "openai at host" in error.message
    error.message.encode()
