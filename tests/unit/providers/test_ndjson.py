"""Lines come out of a byte stream whole, however the network cut it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.providers._ndjson import LineSplitter
from llmorch.providers._sse import LineTooLong


def lines_of(pieces: list[bytes], *, max_bytes: int = 1024) -> list[bytes]:
    splitter = LineSplitter(max_bytes=max_bytes)
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.data())
def test_any_cut_gives_the_same_lines(texts: list[str], data: st.DataObject) -> None:
    sent = [json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts]
    whole = b"\n".join(sent)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    cuts = [0, *places, len(whole)]
    pieces = [whole[start:stop] for start, stop in pairwise(cuts)]
    assert lines_of(pieces, max_bytes=1024 * 1024) == sent


def test_a_line_separator_of_unicode_and_a_lone_cr_are_text() -> None:
    line = '{"text":"a\u2028b\u0085c\r"}'.encode()
    assert lines_of([line + b"\n" + line]) == [line, line]


def test_crlf_and_empty_lines_leave_nothing_behind() -> None:
    assert lines_of([b"\r\n{}\r", b"\n\n \n", b"[]\r\n"]) == [b"{}", b"[]"]


def test_a_mark_at_the_beginning_is_no_part_of_the_first_line() -> None:
    assert lines_of([b"\xef\xbb", b"\xbf{}\n\xef\xbb\xbf{}\n"]) == [b"{}", b"\xef\xbb\xbf{}"]


@pytest.mark.parametrize("pieces", [[b"x" * 11 + b"\n"], [b"x" * 6, b"x" * 5], [b"x" * 6, b"x" * 5 + b"\n"]])
def test_a_line_over_the_limit_is_refused_whether_it_ends_or_not(pieces: list[bytes]) -> None:
    with pytest.raises(LineTooLong, match="more than 10 bytes"):
        lines_of(pieces, max_bytes=10)


def test_many_short_lines_in_one_read_are_no_long_line() -> None:
    assert len(lines_of([b"x" * 10 + b"\n"] * 1 + [(b"y" * 10 + b"\n") * 50], max_bytes=10)) == 51


def test_the_end_gives_the_rest_once() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"{}") == []
    assert splitter.end() == [b"{}"]
    assert splitter.end() == []
