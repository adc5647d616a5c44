"""How streamed answers of Gemini are read, however the network cuts them."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.errors import BadAnswer, ContentRefused, ProviderError, ProviderUnavailable, RateLimited, StreamTruncated
from llmorch.models.message import Message
from llmorch.models.usage import Usage
from llmorch.providers._classify import Origin
from llmorch.providers._gemini_answer import StreamReader, read_answer
from llmorch.providers._sink import Progress
from llmorch.providers.gemini import Gemini
from llmorch.requests import ProviderRequest, ProviderResponse

ORIGIN = Origin("gemini", "host", "m", "KEY")
SIGNATURE = "EjQKMgEMOdbH"


def chunk(*parts: Any, finish: str | None = None, shown: int | None = 1, **more: Any) -> dict[str, Any]:
    given = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": given}} if given else {}
    if finish:
        candidate["finishReason"] = finish
    usage = {} if shown is None else {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": shown}}
    return {"candidates": [candidate], **usage, "modelVersion": "gemini-3.8-flash-001", "responseId": "r", **more}


def events(*chunks: Any) -> bytes:
    return "".join(f"data: {json.dumps(item, ensure_ascii=False)}\r\n\r\n" for item in chunks).encode()


def read(*pieces: bytes) -> tuple[ProviderResponse, list[str], list[Progress]]:
    said: list[str] = []
    reader = StreamReader(ORIGIN, said.append)
    progress = [reader.feed(piece) for piece in pieces]
    answer = reader.response()
    assert "".join(said) == answer.text
    assert all(said)
    return answer, said, progress


def failure(*pieces: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(*pieces)
    return caught.value


THOUGHT = {"text": "Hm. ", "thought": True}
CALL = {"functionCall": {"id": "fc-1", "name": "weather", "args": {"city": "Kraków"}}, "thoughtSignature": SIGNATURE}
SAMPLE = events(
    chunk(THOUGHT, shown=None),
    chunk("It is ", "cold 🥶", shown=2),
    chunk(" today\u2028", CALL, shown=4),
    chunk({"text": "", "thoughtSignature": "abc"}, finish="STOP", shown=6),
)


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12))
def test_the_cuts_of_the_network_change_nothing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SAMPLE)]
    answer, _, _ = read(*(SAMPLE[start:end] for start, end in itertools.pairwise(places)))
    assert answer.text == "It is cold 🥶 today\u2028"
    assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        ("fc-1", "weather", {"city": "Kraków"})
    ]
    assert answer.usage == Usage(5, 6, requests=1)
    assert answer.finish_reason == "tool_calls"
    assert answer.raw == {
        "finish_reason": "STOP",
        "id": "r",
        "replay": {
            "gemini": {
                "parts": [
                    {"text": "It is cold 🥶 today\u2028"},
                    {"thoughtSignature": SIGNATURE, "functionCall": CALL["functionCall"]},
                    {"thoughtSignature": "abc", "text": ""},
                ]
            }
        },
    }


def test_thoughts_are_content_for_the_timer_and_no_text() -> None:
    _, said, progress = read(events(chunk(THOUGHT)), b": ping\n\n", events(chunk("a", finish="STOP")))
    assert said == ["a"]
    assert progress == [Progress.CONTENT, Progress.NOTHING, Progress.OVER]


def test_usage_that_comes_after_the_end_is_waited_for_and_nothing_else_counts() -> None:
    late = chunk("more", shown=9)
    answer, _, progress = read(events(chunk("a", finish="STOP", shown=None)), events(late), b"data: {no json\n\n")
    assert progress[:2] == [Progress.COMPLETE, Progress.OVER]
    assert answer.text == "a"
    assert answer.usage == Usage(5, 9, requests=1)


def test_the_last_usage_wins_and_is_not_replaced_by_an_older_one() -> None:
    absurd = chunk("b", finish="STOP", usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": -3})
    assert read(events(chunk("a", shown=1), absurd))[0].usage is None


def test_a_stream_without_its_end_is_truncated() -> None:
    assert isinstance(failure(events(chunk("a"), chunk("b"))), StreamTruncated)
    assert isinstance(failure(b""), StreamTruncated)
    assert isinstance(failure(events(chunk("a", finish="FINISH_REASON_UNSPECIFIED"))), StreamTruncated)


def test_an_event_that_is_no_json_is_a_truncated_stream() -> None:
    error = failure(events(chunk("a")), b'data: {"candidates"\n\n', events(chunk("b", finish="STOP")))
    assert isinstance(error, StreamTruncated)


def test_an_error_in_the_middle_has_its_class() -> None:
    body = {"error": {"code": 429, "message": "Slow down.", "details": [{"retryDelay": "2s"}]}}
    for told in (body, [body]):
        error = failure(events(chunk("a"), told))
        assert isinstance(error, RateLimited)
        assert error.retry_after == 2


def test_an_error_outside_of_the_events_is_found_when_the_stream_ends() -> None:
    bare = json.dumps([{"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}], indent=2).encode()
    for said in ("a", "long " * 5000):
        error = failure(events(chunk(said)), bare[:20], bare[20:])
        assert isinstance(error, ProviderUnavailable)
        assert "Overloaded." in error.message


def test_a_blocked_prompt_ends_a_stream() -> None:
    error = failure(events({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}))
    assert isinstance(error, ContentRefused)


def test_a_refusal_in_the_middle_keeps_what_was_said() -> None:
    error = failure(events(chunk("Sure, fir"), chunk(finish="SAFETY")))
    assert isinstance(error, ContentRefused)
    assert error.text == "Sure, fir"


def test_halves_of_a_character_in_a_row_are_joined() -> None:
    halves = b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud83e"}]}}]}\n\n'
    other = b'data: {"candidates":[{"content":{"parts":[{"text":"\\udd76!"}]}}]}\n\n'
    answer, said, _ = read(halves, other, halves, events(chunk(finish="STOP")))
    assert answer.text == "🥶!\ufffd"
    assert said == ["🥶!", "\ufffd"]


def test_a_line_without_end_is_a_bad_answer() -> None:
    assert isinstance(failure(b"data: " + b"x" * 2**20 + b"x"), BadAnswer)


def test_only_the_first_candidate_counts() -> None:
    second = {"content": {"parts": [{"text": "other"}]}, "index": 1, "finishReason": "MAX_TOKENS"}
    first = {"content": {"parts": [{"text": "mine"}]}, "index": 0, "finishReason": "STOP"}
    answer, _, _ = read(events({"candidates": [second]}, {"candidates": [second, first]}))
    assert (answer.text, answer.finish_reason) == ("mine", "stop")


def test_what_is_given_back_can_be_stored() -> None:
    call = b'{"functionCall":{"name":"f","args":{"a":NaN,"b":"\\ud83d"}},"thoughtSignature":"s"}'
    answer, _, _ = read(
        b'data: {"candidates":[{"content":{"parts":[' + call + b'],"role":"model"},"finishReason":"STOP"}]}\n\n'
    )
    (part,) = answer.raw["replay"]["gemini"]["parts"]
    assert part["functionCall"]["args"] == {"a": None, "b": "\ufffd"}


@pytest.mark.anyio
async def test_a_watched_call_asks_for_events() -> None:
    asked: list[httpx.Request] = []

    class Reads(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(SAMPLE), 50):
                yield SAMPLE[start : start + 50]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, stream=Reads(), headers={"content-type": "text/event-stream"})

    provider = Gemini(api_key="k-example", transport=httpx.MockTransport(answer))
    said: list[str] = []
    told = await provider.complete(ProviderRequest("gemini-3.8-flash", (Message("user", "?"),)), on_delta=said.append)
    assert asked[0].url.raw_path == b"/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
    assert "".join(said) == told.text == "It is cold 🥶 today\u2028"


@pytest.mark.anyio
async def test_an_answer_in_one_piece_is_given_to_the_watcher_too() -> None:
    whole = httpx.MockTransport(lambda _: httpx.Response(200, json=[chunk("a"), chunk("b", finish="STOP")]))
    said: list[str] = []
    provider = Gemini(api_key="k-example", transport=whole)
    await provider.complete(ProviderRequest("gemini-3.8-flash", (Message("user", "?"),)), on_delta=said.append)
    assert said == ["ab"]


NAMES = st.sampled_from(
    [
        *(
            "candidates",
            "content",
            "parts",
            "text",
            "thought",
            "thoughtSignature",
            "functionCall",
            "name",
            "args",
            "id",
        ),
        *("finishReason", "finishMessage", "safetyRatings", "blocked", "category", "promptFeedback", "blockReason"),
        *("usageMetadata", "promptTokenCount", "candidatesTokenCount", "error", "code", "details", "retryDelay"),
        *("responseId", "modelVersion", "index", "continuationToken"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 500),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=5),
    st.sampled_from(["STOP", "SAFETY", "MALFORMED_FUNCTION_CALL", "429", "\ud83d", "9" * 400 + "s"]),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)
PART = JSON | st.fixed_dictionaries(
    {},
    optional={
        "text": SCALARS,
        "thought": SCALARS,
        "thoughtSignature": SCALARS,
        "functionCall": st.fixed_dictionaries({"name": SCALARS}, optional={"args": JSON, "id": SCALARS}),
    },
)
CANDIDATE = st.fixed_dictionaries(
    {"content": st.fixed_dictionaries({"parts": st.lists(PART, max_size=3)}) | JSON},
    optional={"finishReason": SCALARS, "safetyRatings": JSON, "finishMessage": SCALARS, "index": SCALARS},
)
BODY = JSON | st.fixed_dictionaries(
    {"candidates": st.lists(CANDIDATE, max_size=2)},
    optional={"usageMetadata": JSON, "error": JSON, "promptFeedback": JSON, "responseId": SCALARS},
)


def check(answer: ProviderResponse) -> None:
    f"{answer.text}{answer.model}".encode()
    json.dumps(answer.raw, ensure_ascii=False, allow_nan=False).encode()
    assert answer.finish_reason in {"stop", "length", "tool_calls", "other"}
    for call in answer.tool_calls:
        f"{call.id}{call.name}{call.arguments}".encode()
    if answer.tool_calls:  # it must be possible to go on
        told = Message("assistant", answer.text, tool_calls=answer.tool_calls, vendor=answer.raw.get("replay", {}))
        results = [Message("tool", "x", tool_call_id=call.id) for call in answer.tool_calls]
        Gemini()._wire.sent(ProviderRequest("gemini-3", (told, *results)), ORIGIN, stream=True)


@given(BODY | st.lists(BODY, max_size=3))
def test_any_json_is_an_answer_or_an_error(body: Any) -> None:
    try:
        check(read_answer(json.dumps(body).encode(), ORIGIN))
    except ProviderError as error:
        error.message.encode()


@given(st.lists(BODY, max_size=4), st.binary(max_size=20))
def test_any_stream_is_an_answer_or_an_error(bodies: list[Any], more: bytes) -> None:
    stream = "".join(f"data: {json.dumps(body)}\n\n" for body in bodies).encode()
    try:
        check(read(stream, more)[0])
    except ProviderError as error:
        error.message.encode()
