"""Rules about servers that fail: each is a real one on 127.0.0.1, which the provider is pointed at."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from ..errors import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    LLMOrchError,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    TimedOut,
)
from ..ports import Provider
from ._conformance_quiet import case_shows_nothing
from ._conformance_rule import Case, Rule, method, unheard
from ._suite import broken, name_of, skipped
from .mock_server import HANG, RESET, FaultServer, Step, answer

__all__ = ["RULES"]

_STOP_S = 2.0
_TIMEOUT_S = 0.2
_RETRY_AFTER_S = 7

_STATUSES: dict[int, tuple[type[LLMOrchError], ...]] = {
    400: (BadRequest,),
    401: (AuthenticationFailed,),
    403: (AuthenticationFailed,),
    404: (BadRequest,),
    413: (ContextTooLong,),
    429: (RateLimited,),
    500: (ProviderUnavailable,),
    503: (ProviderUnavailable,),
}


def _nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def _server(*script: Step) -> Generator[str]:
    with FaultServer(script) as server:
        yield server.url.removesuffix("/v1")


def _provider(case: Case, url: str) -> Provider:
    if case.at is None:
        skipped("no at= was given, which makes the provider for another address")
    return case.at(url)


async def _error_at(case: Case, url: str, *, stream: bool, timeout: float | None = None) -> LLMOrchError | None:
    provider = _provider(case, url)
    try:
        request = case.request(timeout=timeout)
        return await case.refusal(request, on_delta=unheard if stream else None, provider=provider)
    finally:
        await case.close(provider)


async def _refused(case: Case) -> None:
    url = _nobody()
    for stream in (False, True):
        error = await _error_at(case, url, stream=stream)
        if not isinstance(error, ProviderUnavailable):
            broken(f"an address where nobody listens gave {_shown(error)}, not ProviderUnavailable")
    provider = _provider(case, url)
    check = method(provider, "check")
    if check is None:
        return
    try:
        status = await check()
    except Exception as error:  # whatever it raises is a finding
        broken(f"check() of an address where nobody listens raised {name_of(error)}; it gives a ProviderStatus")
    finally:
        await case.close(provider)
    if getattr(status, "ok", None) is not False:
        broken(f"check() of an address where nobody listens gave {status!r}")


async def _silent(case: Case) -> None:
    with _server(HANG) as url:
        provider = _provider(case, url)
        for stream in (False, True):
            start = anyio.current_time()
            with anyio.move_on_after(_TIMEOUT_S):
                try:
                    await provider.complete(case.request(), on_delta=unheard if stream else None)
                except Exception as error:  # a cancelled call ends with the cancellation and nothing else
                    broken(f"a cancelled call to a server that says nothing ended with {name_of(error)}")
            if anyio.current_time() - start > _TIMEOUT_S + _STOP_S:
                broken("a cancelled call to a server that says nothing went on")
        await case.close(provider)
        if not getattr(case.provider, "keeps_time", False):
            return
        for stream in (False, True):
            given = await _error_at(case, url, stream=stream, timeout=_TIMEOUT_S)
            if not isinstance(given, TimedOut):
                broken(f"a server that says nothing gave {_shown(given)} with timeout={_TIMEOUT_S}, not TimedOut")


async def _statuses(case: Case) -> None:
    for status, expected in _STATUSES.items():
        body = {"error": {"message": f"status {status} was told to happen", "type": "told", "code": None}}
        headers = {"retry-after": str(_RETRY_AFTER_S)} if status == 429 else {}
        with _server(*answer(status, body, headers=headers)) as url:
            for stream in (False, True):
                error = await _error_at(case, url, stream=stream)
                if not isinstance(error, expected):
                    names = " or ".join(one.__name__ for one in expected)
                    broken(f"status {status} gave {_shown(error)}; it stands for {names}")
                if isinstance(error, RateLimited) and error.retry_after != _RETRY_AFTER_S:
                    broken(
                        f"status 429 with retry-after: {_RETRY_AFTER_S} gave retry_after={error.retry_after!r}, so "
                        "nobody waits as long as was asked"
                    )


async def _strange(case: Case) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
    scripts: dict[str, tuple[Step, ...]] = {
        "a page of HTML": answer(200, b"<html><body>Log in</body></html>", kind="text/html"),
        "an empty body": answer(200, b""),
        "status 204": (b"HTTP/1.1 204 No Content\r\n\r\n", "keep"),
        "half a JSON body": answer(200, b'{"message": {"content": "Te'),
        "a JSON list": answer(200, b"[1, 2, 3]"),
        "the JSON word null": answer(200, b"null"),
        "a redirect": answer(302, b"", headers={"location": "http://127.0.0.1:1/"}),
        "no HTTP at all": (b"220 mail ready\r\n",),
        "a body that ends early": (head + b'{"message": ',),
        "a reset": (RESET,),
    }
    for what, script in scripts.items():
        with _server(*script) as url:
            for stream in (False, True):
                error = await _error_at(case, url, stream=stream)
                if not isinstance(error, ProviderError):
                    broken(f"{what} instead of an answer{' (streamed)' if stream else ''} gave {_shown(error)}")


async def _echoed_key(case: Case) -> None:
    if case.secret is None:
        skipped("no secret= was given")
    body = {"error": {"message": f"Incorrect API key provided: {case.secret}. Authorization: Bearer {case.secret}"}}
    for status in (400, 401, 500):
        with _server(*answer(status, body)) as url:
            provider = _provider(case, url)
            for stream in (False, True):
                what = f"a server that repeats the key with status {status}"
                await case_shows_nothing(case, case.request(), what, stream=stream, provider=provider)
            await case.close(provider)


def _shown(error: BaseException | None) -> str:
    return "an answer" if error is None else name_of(error)


RULES = (
    Rule(
        "refused-connection",
        "An address where nobody listens gives ProviderUnavailable, and a check() that says no.",
        "Turn errors of the connection into llmorch.errors.ProviderUnavailable; check() never raises.",
        _refused,
    ),
    Rule(
        "silent-server",
        "A call to a server that says nothing can be cancelled and, with keeps_time, times out.",
        "Bound the whole call, not only its parts, and raise TimedOut.",
        _silent,
        cancels=True,
    ),
    Rule(
        "error-statuses",
        "Each HTTP status gives the error class that stands for it, and Retry-After is kept.",
        "401 and 403 AuthenticationFailed, 413 ContextTooLong, 429 RateLimited(retry_after=seconds), 5xx "
        "ProviderUnavailable, other 4xx BadRequest.",
        _statuses,
    ),
    Rule(
        "strange-answers",
        "What is no answer in the vendor's format gives a ProviderError.",
        "Check status, type and every field before use; raise BadAnswer, or ProviderUnavailable for a broken "
        "connection.",
        _strange,
    ),
    Rule(
        "echoed-key",
        "A server that repeats the key in its error does not bring it into ours.",
        "Replace the key in every text you quote.",
        _echoed_key,
    ),
)
