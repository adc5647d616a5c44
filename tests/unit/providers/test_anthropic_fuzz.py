"""Whatever a server of the Messages API sends, the parsers give an answer or one of our errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmorch.errors import ProviderError
from llmorch.models.message import Message
from llmorch.providers._anthropic_answer import StreamReader, read_answer
from llmorch.providers._classify import Origin
from llmorch.providers.anthropic import Anthropic
from llmorch.requests import ProviderRequest, ProviderResponse

ORIGIN = Origin("anthropic", "host", "m", "KEY")
WORDS = [
    *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "text_delta", "thinking_delta"),
    *("input_json_delta", "signature_delta", "citations_delta", "refusal", "tool_use", "overloaded_error", "\ud83d"),
]
NAMES = [
    *("type", "text", "thinking", "signature", "id", "name", "input", "partial_json", "citation", "citations", "data"),
    *("stop_reason", "stop_details", "input_tokens", "output_tokens", "cache_read_input_tokens", "error", "message"),
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 500), st.floats(), st.text(max_size=5), st.sampled_from(WORDS)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
BLOCK = st.fixed_dictionaries({"type": st.sampled_from(WORDS)}, optional=dict.fromkeys(NAMES[1:11], JSON)) | JSON
BODY = JSON | st.fixed_dictionaries(
    {"content": st.lists(BLOCK, max_size=3)},
    optional={"usage": JSON, "stop_reason": SCALARS, "stop_details": JSON, "model": SCALARS, "id": SCALARS},
)
EVENT = JSON | st.one_of(
    st.fixed_dictionaries({"type": st.just("message_start"), "message": JSON}),
    st.fixed_dictionaries({"type": st.just("content_block_start"), "index": SCALARS, "content_block": BLOCK}),
    st.fixed_dictionaries({"type": st.just("content_block_delta"), "index": SCALARS, "delta": BLOCK}),
    st.fixed_dictionaries({"type": st.just("message_delta"), "delta": JSON, "usage": JSON}),
    st.fixed_dictionaries({"type": st.just("error"), "error": JSON}),
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


@given(BODY)
def test_any_json_is_an_answer_or_an_error(body: Any) -> None:
    with suppressed():
        check(read_answer(json.dumps(body).encode(), ORIGIN))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    with suppressed():
        check(read_answer(body, ORIGIN))


@given(st.lists(EVENT, max_size=6), st.booleans())
def test_any_stream_is_an_answer_or_an_error_and_its_pieces_add_up(stream: list[Any], stop: bool) -> None:
    pieces: list[str] = []
    reader = StreamReader(ORIGIN, pieces.append)
    with suppressed():
        for event in stream:
            reader.feed(f"data: {json.dumps(event)}\n\n".encode())
        if stop:
            reader.feed(b'data: {"type": "message_stop"}\n\n')
        answer = reader.response()
        check(answer)
        assert "".join(pieces) == answer.text


@given(st.lists(BLOCK, max_size=4))
def test_what_was_kept_of_any_answer_can_be_sent_back(blocks: list[Any]) -> None:
    body = {"content": [*blocks, {"type": "tool_use", "id": "t", "name": "add", "input": {}}]}
    with suppressed():
        answer = read_answer(json.dumps(body).encode(), ORIGIN)
        replay: Any = answer.raw.get("replay") or {}
        stored = json.loads(json.dumps(replay))
        turn = Message("assistant", answer.text, tool_calls=answer.tool_calls, vendor=stored)
        asked = ProviderRequest("m", (Message("user", "x"), turn, Message("tool", "1", tool_call_id="t")))
        sent = json.loads(Anthropic(api_key="k")._wire.sent(asked, ORIGIN, stream=False).body)
        content = sent["messages"][1]["content"]
        assert [block["name"] for block in content if block["type"] == "tool_use"] == [
            call.name for call in answer.tool_calls
        ]
