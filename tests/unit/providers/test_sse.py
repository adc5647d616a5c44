"""Events come out of a byte stream the same however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.providers._sse import EventSplitter, LineTooLong

LINES = st.sampled_from(
    [
        "data: one",
        "data:two",
        "data: h\u00e9llo \u2028 \U0001f600",
        ": a comment",
        "event: x",
        "id: 7",
        "data",
        "data:",
        "",
        "",
        "nonsense",
    ]
)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def events_of(pieces: list[bytes]) -> list[bytes]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.end()


@given(lines=st.lists(st.tuples(LINES, ENDS), max_size=12), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_cutting_of_the_bytes_gives_the_same_events(lines: list[tuple[str, str]], cuts: list[int]) -> None:
    stream = "".join(line + end for line, end in lines).encode()
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:stop] for start, stop in pairwise(places)]
    single_bytes = [stream[at : at + 1] for at in range(len(stream))]
    assert events_of(pieces) == events_of([stream]) == events_of(single_bytes)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_ending_of_the_standard_ends_a_line(end: bytes) -> None:
    assert events_of([b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end]) == [b"a\nb", b"c"]


def test_a_line_separator_inside_json_is_text() -> None:
    assert events_of(['data: {"a": "x\u2028y\x0b\x0c\x85z"}\n\n'.encode()]) == [
        '{"a": "x\u2028y\x0b\x0c\x85z"}'.encode()
    ]


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_first_line() -> None:
    assert events_of([b"\xef\xbb\xbfdata: a\n\n"]) == [b"a"]


def test_an_event_without_data_is_left_out() -> None:
    assert events_of([b"event: ping\n\ndata:\n\n: note\n\ndata: a\n\n"]) == [b"a"]


def test_a_last_line_that_is_not_complete_is_no_event() -> None:
    assert events_of([b"data: a\n\ndata: b"]) == [b"a"]


def test_a_line_over_the_limit_is_refused_before_it_ends() -> None:
    splitter = EventSplitter(max_bytes=100)
    for _ in range(6):
        splitter.feed(b"data: 0123456789")
    with pytest.raises(LineTooLong):
        splitter.feed(b"data: 0123456789")


def test_an_event_of_many_lines_over_the_limit_is_refused() -> None:
    with pytest.raises(LineTooLong):
        EventSplitter(max_bytes=100).feed(b"data: 0123456789\n" * 20)
