"""Every kind of fault a network or a server can produce, and what comes of it: the class, the attempts, the waits.

`docs/faults.md` is this table in words; `python -m tests.wire.fault_page` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    LLMOrchError,
    ProviderUnavailable,
    RateLimited,
    StreamTruncated,
    TimedOut,
)
from llmorch.testing.dialects import DIALECTS
from llmorch.testing.mock_server import HANG, RESET, Drip, answer
from tests.wire import fault_scripts as play
from tests.wire.fault_scripts import Script

MODES = {"whole": False, "stream": True}


@dataclass(frozen=True)
class Fails:
    """The call fails.

    Attributes:
        attempts: Calls made in all under the default `Retry`.
        hint: Seconds the server asked to wait, as the least and the most it may be; None: the backoff alone.
        told: What the message says.
        spent: It is a spend limit.
    """

    error: type[LLMOrchError]
    attempts: int
    hint: tuple[float, float] | None = None
    told: str = ""
    spent: bool = False


@dataclass(frozen=True)
class Answers:
    """The call is answered, at once."""

    text: str = "fine"
    has_usage: bool = True
    arguments: tuple[str, ...] = ()


Outcome = Fails | Answers


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: Short and unique.
        words: What the server does.
        script: None: nobody listens.
        expected: What comes of it.
        but: Where a dialect has another outcome; `None` where it has no such fault. A key names a dialect, or a
            dialect and a mode as in `openai stream`.
        modes: Whether it can happen to a whole answer, to a stream, or to both.
        timeout_s: Seconds for a call.
        stall_s: Seconds a stream may be without content.
        is_large: Measured for memory.
        on_aiohttp: What comes of it over aiohttp (the pooled connections on asyncio), where that is something else.
    """

    name: str
    words: str
    script: Script | None
    expected: Outcome
    but: Mapping[str, Outcome | None] = field(default_factory=dict[str, "Outcome | None"])
    modes: Sequence[str] = ("whole", "stream")
    timeout_s: float = 20
    stall_s: float = 10
    is_large: bool = False
    on_aiohttp: Outcome | None = None

    def outcome(self, dialect: str, mode: str, *, aiohttp: bool = False) -> Outcome | None:
        """What comes of it there; None where it cannot happen."""
        if mode not in self.modes:
            return None
        if aiohttp and self.on_aiohttp is not None:
            return self.on_aiohttp
        return self.but.get(f"{dialect} {mode}", self.but.get(dialect, self.expected))


DOWN = Fails(ProviderUnavailable, 4)
LIMITED = Fails(RateLimited, 4)
TRUNCATED = Fails(StreamTruncated, 4)
BAD = Fails(BadAnswer, 2)
REFUSED = Fails(BadRequest, 1)
DENIED = Fails(AuthenticationFailed, 1)
LONG = Fails(ContextTooLong, 1)
SPENT = Fails(RateLimited, 1, spent=True)
DECLINED = Fails(ContentRefused, 1)
STREAM = ("stream",)
WHOLE = ("whole",)
SOON_S = 0.6
STALL_S = 0.25
LATE = Fails(TimedOut, 4, told=f"within {SOON_S} s")
STALLED = Fails(TimedOut, 4, told=f"nothing of worth for {STALL_S} s")
# Of a stream, the line that is too long is noticed before the body is.
BAD_STREAM: dict[str, Outcome | None] = {f"{name} stream": BAD for name in DIALECTS}
CUT_STREAM: dict[str, Outcome | None] = {f"{name} stream": TRUNCATED for name in DIALECTS}


def _both(name: str, words: str, script: Script, expected: Outcome, **but: Outcome | None) -> Fault:
    return Fault(name, words, script, expected, but)


def _hang(name: str, words: str, script: Script, modes: Sequence[str] = ("whole", "stream")) -> Fault:
    return Fault(name, words, script, LATE, modes=modes, timeout_s=SOON_S)


def _stream(name: str, words: str, script: Script, expected: Outcome, **but: Outcome | None) -> Fault:
    return Fault(name, words, script, expected, but, modes=STREAM)


def _stall(name: str, words: str, script: Script) -> Fault:
    return Fault(name, words, script, STALLED, modes=STREAM, stall_s=STALL_S)


def _after(hint: float, least: float | None = None) -> Fails:
    return replace(LIMITED, hint=(hint if least is None else least, hint))


def _error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


HTML = b"<html>bad gateway</html>"
HEAD = b"HTTP/1.1 200 OK\r\n"
TRAP = {"location": "/trap"}
AWAY = {"location": "http://127.0.0.1:1/v1"}
NOT_FOLLOWED = replace(BAD, told="redirects are not followed")
TOO_BIG = replace(BAD, told="32 MiB")
TOO_LONG_WORDS = play.by_dialect(
    openai=(400, _error("too long", code="context_length_exceeded")),
    anthropic=(400, _error("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error")),
    gemini=(400, _error("The input token count (9) exceeds the maximum number of tokens allowed (8).", code=400)),
    ollama=(400, {"error": "the request exceeds the available context size"}),
)
BAD_KEY_WORDS = play.by_dialect(
    openai=(400, _error("invalid API key", code=400)),
    gemini=(
        400,
        _error(
            "API key not valid. Please pass a valid API key.",
            code=400,
            status="INVALID_ARGUMENT",
            details=[{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        ),
    ),
)
TOO_LONG_TEXT = "the request exceeds the available context size"
SPENT_WORDS = play.by_dialect(
    openai=(429, _error("You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota")),
    anthropic=(400, _error("Your credit balance is too low.", type="invalid_request_error")),
)
LATER_WORDS = play.by_dialect(
    gemini=(
        429,
        _error(
            "You exceeded your current quota, please check your plan and billing details. Please retry in 34s.",
            code=429,
            status="RESOURCE_EXHAUSTED",
            details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        ),
    ),
)

STATUSES = [
    _both("429", "429 without a hint", play.status(429), LIMITED),
    _both("429 seconds", "429, `Retry-After: 7`", play.status(429, retry_after="7"), _after(7)),
    _both("429 date", "429, `Retry-After` as a date in 30 s", play.in_seconds(30), _after(30, 15)),
    _both("429 ms", "429, `retry-after-ms: 1500`", play.status(429, retry_after_ms="1500"), _after(1.5)),
    _both(
        "429 ms wins",
        "429, `retry-after-ms: 1500` and `Retry-After: 60`",
        play.status(429, retry_after_ms="1500", retry_after="60"),
        _after(1.5),
    ),
    _both("429 negative", "429, `Retry-After: -5`", play.status(429, retry_after="-5"), LIMITED),
    _both("429 past", "429, `Retry-After` as a date an hour ago", play.in_seconds(-3600), LIMITED),
    _both("429 garbage", "429, `Retry-After: soon`", play.status(429, retry_after="soon"), LIMITED),
    _both("429 infinite", "429, `Retry-After: 1e999`", play.status(429, retry_after="1e999"), LIMITED),
    _both("429 huge", "429, `Retry-After: 86400`", play.status(429, retry_after="86400"), Fails(RateLimited, 1)),
    Fault(
        "429 in the body",
        "429 that says in its body to wait 34 s",
        LATER_WORDS,
        _after(34),
        {"openai": None, "anthropic": None, "ollama": None},
    ),
    _both("402", "402, the balance is used up", play.status(402, "Insufficient Balance"), SPENT),
    _both("spend limit", "the money is used up, in the vendor's words", SPENT_WORDS, SPENT, gemini=None, ollama=None),
    _both("500", "500", play.status(500), DOWN),
    _both("500 key", "500 that names a bad key", play.status(500, "invalid API key"), DENIED),
    _both("400 key", "400 for a bad key", BAD_KEY_WORDS, DENIED, anthropic=None, ollama=None),
    _both("502 html", "502 with a page", lambda *_: answer(502, HTML, kind="text/html"), DOWN),
    _both("503", "503, `Retry-After: 3`", play.status(503, retry_after="3"), replace(DOWN, hint=(3, 3))),
    _both("503 huge", "503, `Retry-After: 86400`", play.status(503, retry_after="86400"), replace(DOWN, attempts=1)),
    _both("504", "504 without a body", play.status(504, empty=True), DOWN),
    _both("529", "529, overloaded", play.status(529), DOWN),
    _both("401", "401", play.status(401), DENIED),
    _both("403", "403", play.status(403), DENIED),
    _both("400", "400", play.status(400), REFUSED),
    _both("422", "422 with `detail`", lambda *_: answer(422, {"detail": [{"msg": "field required"}]}), REFUSED),
    _both("404", "404 for the model", play.status(404), replace(REFUSED, told="'mock-model-large'")),
    _both("408", "408 without a body", play.status(408, empty=True), DOWN),
    _both("409", "409 without a body", play.status(409, empty=True), DOWN),
    _both("413", "413 in plain text", lambda *_: answer(413, b"too large", kind="text/plain"), LONG),
    _both("400 context", "400, the prompt does not fit, in the vendor's words", TOO_LONG_WORDS, LONG),
    _both("400 context text", "400, the same as a bare text", play.error_text(400, TOO_LONG_TEXT), LONG),
    Fault(
        "400 filter",
        "400, a filter stopped the prompt",
        lambda *_: answer(400, _error("filtered", code="content_filter")),
        DECLINED,
        {"anthropic": None, "gemini": None, "ollama": None},
    ),
    _both("204", "204", play.raw(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"), BAD),
    _both("redirect", "307 to another path of the host", play.status(307, **TRAP), NOT_FOLLOWED),
    _both("redirect away", "302 to another host", play.status(302, empty=True, **AWAY), NOT_FOLLOWED),
]

BODIES = [
    _both("200 html", "200 with a page", play.plain(HTML, "text/html"), BAD),
    _both("200 no json", "200, not JSON", play.plain(b"{'a': 1}"), BAD),
    _both("200 empty", "200 without a body", play.plain(b""), BAD),
    _both("200 other", "200, other JSON", play.plain({"hello": "world"}), BAD),
    _both("200 list", "200, a JSON list", play.plain(b"[1, 2]"), BAD),
    _both("200 odd types", "200, fields of other types", play.odd_types, BAD),
    _both("200 deep", "200, JSON 100 000 levels deep", play.plain(b"[" * 100_000), BAD),
    _both("200 error", "200 with the body of an error 500", play.inside_200(500), DOWN),
    _both("200 error 429", "200 with the body of an error 429", play.inside_200(429), LIMITED, ollama=DOWN),
    _both("200 error 401", "200 with the body of an error 401", play.inside_200(401), DENIED, ollama=DOWN),
    _both(
        "200 error number",
        "200 with an error whose code is 429",
        play.numbered(429),
        LIMITED,
        anthropic=None,
        ollama=None,
    ),
    _both("200 no answer", "200, the answer's own field is empty", play.no_answer, BAD),
    _both("refusal", "the model declines", play.refusal, DECLINED, ollama=None),
    _both("filter", "a filter ends the answer", play.filtered, DECLINED, ollama=None),
    _both("encoding", "packed with `br`", play.plain(b"xx", content_encoding="br"), replace(BAD, told="'br'")),
    _both("broken gzip", "gzip that is none", play.plain(b"xx", content_encoding="gzip"), BAD),
    _both("gzip", "packed with gzip, unasked", play.ok(play.packed, content_encoding="gzip"), Answers()),
    Fault("gzip bomb", "200 KB of gzip that unpack to 200 MiB", play.bombed, TOO_BIG, BAD_STREAM, is_large=True),
    Fault("100 MB", "a body of 100 MB", play.flood(b" " * 65536, 100 << 20), TOO_BIG, BAD_STREAM, is_large=True),
    Fault(
        "100 MB of lines",
        "a stream of 100 MB without content",
        play.flood_of_comments,
        TOO_BIG,
        modes=STREAM,
        is_large=True,
    ),
    Fault("10 MB line", "a line without end", play.long_line, BAD, modes=STREAM, is_large=True),
    _both(
        "huge headers",
        "77 KB of headers",
        play.plain(b"{}", **{f"x-{n}": "y" * 7000 for n in range(11)}),
        replace(BAD, told="headers"),
    ),
    _both("bad length", "a content-length that is no number", play.raw(HEAD + b"content-length: many\r\n\r\n{}"), BAD),
    _both("bad chunks", "sizes of chunks that are no numbers", play.bad_chunks, BAD),
    _both("not http", "not HTTP", play.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), BAD),
    _both("no length", "a body that ends with the connection", play.no_length, Answers()),
    Fault("too short", "content-length larger than the body", play.broken_body(), DOWN, CUT_STREAM),
    # aiohttp reads what is left of the body as another answer, and finds that it is none.
    Fault("too long", "content-length smaller than the body", play.shifted_length, BAD, CUT_STREAM, on_aiohttp=BAD),
    Fault("surplus", "bytes behind the answer that belong to none", play.surplus, Answers(), on_aiohttp=BAD),
    _both("no usage", "no usage", play.no_usage, Answers(has_usage=False)),
    _both("negative usage", "usage of -1", play.usage(b"-1"), Answers(has_usage=False)),
    _both("infinite usage", "usage of 1e999", play.usage(b"1e999"), Answers(has_usage=False)),
    _both("usage NaN", "usage of NaN", play.usage(b"NaN"), Answers(has_usage=False)),
    _both("usage text", "usage as text", play.usage(b'"many"'), Answers(has_usage=False)),
    _both(
        "invalid utf-8", "text that is no UTF-8", play.replaced("fine", b"fi\xff\xfene"), Answers("fi\ufffd\ufffdne")
    ),
    _both("lone surrogate", "half of a surrogate pair", play.replaced("fine", b"fi\\ud83dne"), Answers("fi\ufffdne")),
    _both("line separator", "U+2028 in the text", play.replaced("fine", "fi\u2028ne".encode()), Answers("fi\u2028ne")),
    _both("bytewise", "every byte in a chunk of its own", play.bytewise, Answers("f\u00efn\u00e9 \U0001f600")),
    _both(
        "tool call",
        "a tool call, in a stream with split arguments",
        play.tool_call('{"a": 1, "b": "two"}'),
        Answers("", arguments=('{"a": 1, "b": "two"}',)),
    ),
    Fault(
        "broken tool call",
        "a tool call whose arguments are no JSON",
        play.tool_call('{"a": '),
        Answers("", arguments=('{"a": ',)),
        {"gemini": None, "ollama": None, "anthropic whole": None},
    ),
]

CONNECTIONS = [
    Fault("refused", "nobody listens", None, replace(DOWN, told="127.0.0.1")),
    _both("closed", "closes before the answer", play.raw(), DOWN),
    _both("reset", "resets before the answer", play.raw(RESET), DOWN),
    _both("reset in headers", "resets in the headers", play.raw(b"HTTP/1.1 200 OK\r\ncontent-", RESET), DOWN),
    Fault("reset in body", "resets in the body", play.broken_body(0.05, RESET), DOWN, modes=WHOLE),
    _hang("hang", "never answers", play.raw(HANG)),
    _hang("hang in headers", "stops in the headers", play.raw(b"HTTP/1.1 200 OK\r\ncontent-", HANG)),
    _hang("hang in body", "stops in the body", play.broken_body(HANG), WHOLE),
    _hang("drip in body", "drips blanks into the body", play.broken_body(Drip(b" ", 0.05)), WHOLE),
]

STREAMS = [
    _stream("no terminal event", "ends without the event that ends an answer", play.ok(play.no_terminal), TRUNCATED),
    _stream("cut", "ends after a piece of text", play.cut(), TRUNCATED),
    _stream("nothing", "ends before any event", play.nothing, TRUNCATED),
    _stream("cut event", "ends in the middle of an event", play.cut_event, TRUNCATED),
    _stream("cut chunk", "ends in the middle of a chunk", play.cut_chunk(), TRUNCATED),
    # Of a body without a length or chunks, aiohttp takes a reset for the end: it is then StreamTruncated.
    _stream("reset in chunk", "resets in the middle of a chunk", play.cut_chunk(0.1, RESET), DOWN),
    _stream("malformed", "an event that is no JSON", play.no_json, TRUNCATED),
    _stream("error event", "an error 500 after a piece of text", play.error_event(500), DOWN),
    _stream("error event 529", "an error 529 after a piece of text", play.error_event(529), DOWN),
    _stream("error event 429", "an error 429 after a piece of text", play.error_event(429), LIMITED, ollama=DOWN),
    _stall("silence", "stops after a piece of text", play.cut(HANG)),
    _stall("comments", "drips comments (or empty lines) for ever", play.comments),
    _stall("pings", "drips events without content for ever", play.pings),
    _stream("doubled", "each piece twice: they are not told from text that repeats", play.doubled, Answers("fifinene")),
    _stream("split surrogate", "a surrogate pair in two pieces", play.halves, Answers("fi\U0001f600ne")),
    _stream("crlf", "lines that end in CRLF", play.carriage_returns, Answers()),
    _stream("unknown events", "events nobody knows or without data", play.unknown_events, Answers()),
    _stream("reset after", "resets after the end", play.after_the_end(RESET), Answers()),
    _stream("hang after", "stays open after the end", play.after_the_end(HANG), Answers()),
    _stream(
        "nonsense after", "says nonsense after the end", play.after_the_end(b"data: nonsense\n\n", HANG), Answers()
    ),
    _stream("more after", "goes on after the end", play.more_after_the_end, Answers()),
]

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in (*STATUSES, *BODIES, *CONNECTIONS, *STREAMS)}


def cells() -> Iterator[tuple[Fault, str, str]]:
    """Every fault in every dialect and mode in which it can happen."""
    for fault in FAULTS.values():
        for dialect in DIALECTS:
            for mode in MODES:
                if fault.outcome(dialect, mode) is not None:
                    yield fault, dialect, mode
