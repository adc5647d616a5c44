"""The conformance suite finds what it says it finds: each small broken provider breaks one rule, and that one only."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContextTooLong,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    TimedOut,
)
from llmorch.models.usage import Usage
from llmorch.ports import OnDelta, Secret, ToolCall
from llmorch.requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus
from llmorch.testing import ScriptedProvider
from llmorch.testing.conformance import ConformanceFailed, check_provider

SECRET = "canary-5e1f00d"
ON_ASYNCIO = ("asyncio",)


class Good:
    """Keeps every rule: it answers with the last user message, two characters at a time."""

    name = "good"

    def __init__(self, key: str = SECRET) -> None:
        self._key: Secret | str = Secret(key)

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if request.model != "echo":
            raise BadRequest(f"there is no model {request.model!r}; there is 'echo'", provider="good")
        await anyio.lowlevel.checkpoint()
        answer = self.answer(request)
        if on_delta is not None:
            for start in range(0, len(answer.text), 2):
                on_delta(answer.text[start : start + 2])
                await anyio.lowlevel.checkpoint()
        return answer

    def answer(self, request: ProviderRequest) -> ProviderResponse:
        text = next((message.text for message in reversed(request.messages) if message.role == "user"), "") or "Yes?"
        if request.output_schema is not None:
            text = '{"name": "tea", "is_hot": true}'
        calls: tuple[ToolCall, ...] = ()
        if request.tools and request.messages[-1].role == "user":
            calls, text = (ToolCall("call-1", "weather", '{"city": "Bergen"}'),), ""
        used = Usage(input_tokens=10, output_tokens=5, cached_tokens=4, requests=1)
        return ProviderResponse(text, calls, used, "tool_calls" if calls else "stop", "echo")

    async def models(self) -> list[str]:
        return ["echo"]

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        return ProviderStatus(True, model="echo", latency=0.0)

    async def aclose(self) -> None:
        pass


class NamedWithAColon(Good):
    name = "good:one"


class Inconstant(Good):
    asked = 0

    def capabilities(self, model: str) -> Capabilities:
        self.asked += 1
        return Capabilities(context_tokens=self.asked)


class AsksWhilePlanning(Good):
    def capabilities(self, model: str) -> Capabilities:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return Capabilities()


class UnsupportedUnknown(Good):
    def capabilities(self, model: str) -> Capabilities:
        return Capabilities(unsupported=frozenset({"temprature"}))


class Mute(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        return replace(super().answer(request), text="", tool_calls=())


class VendorsWord(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        return replace(super().answer(request), finish_reason="end_turn")


class RawObjects(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        return replace(super().answer(request), raw={"body": object()})


class PartsOverTotals(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        return replace(super().answer(request), usage=Usage(input_tokens=3, cached_tokens=5, requests=1))


class LosesTheLastPiece(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        pieces: list[str] = []
        answer = await super().complete(request, on_delta=pieces.append)
        for piece in pieces[:-1] if on_delta else ():
            assert on_delta is not None
            on_delta(piece)
        return answer


class SpeaksAfterwards(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        answer = await super().complete(request, on_delta=on_delta)
        if on_delta is not None:
            timer = threading.Timer(0.01, on_delta, ["late"])
            timer.start()
        return answer


class SplitsAtEveryLineEnd(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        answer = super().answer(request)
        return replace(answer, text="\n".join(answer.text.splitlines()))


class HatesSeeds(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        if request.settings.seed is not None:
            raise BadRequest("no seeds, please")
        return super().answer(request)


class HatesExtra(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        if request.extra:
            raise TypeError(f"unexpected fields {list(request.extra)}")
        return super().answer(request)


class ChangesTheRequest(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        for tool in request.tools:
            schema: Any = tool.schema
            schema.pop("additionalProperties", None)
        return super().answer(request)


class TripsOverOddRequests(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        last = request.messages[-1]
        return replace(super().answer(request), model=last.role)


class ForgetsTheTree(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if request.model != "echo":
            raise KeyError(request.model)
        return await super().complete(request, on_delta=on_delta)


class ProseForASchema(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        answer = super().answer(request)
        return replace(answer, text=f"Sure! {answer.text}") if request.output_schema else answer


class ParsedArguments(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        calls: Any = tuple(ToolCall(call.id, call.name, "city=Bergen") for call in super().answer(request).tool_calls)
        return replace(super().answer(request), tool_calls=calls)


class ForgetsForeignIds(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        if any("/" in (message.tool_call_id or "") for message in request.messages):
            raise BadRequest("tool_call_id does not match '^[a-zA-Z0-9_-]+$'", status=400)
        return super().answer(request)


class SaysItDoesNotWork(Good):
    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        return ProviderStatus(False, detail="no")


class OneAtATime(Good):
    is_busy = False

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if self.is_busy:
            raise ProviderUnavailable("busy")
        self.is_busy = True
        try:
            return await super().complete(request, on_delta=on_delta)
        finally:
            self.is_busy = False


class MixesAnswersUp(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        self.request = request
        await anyio.lowlevel.checkpoint()
        return await super().complete(replace(self.request, model=request.model), on_delta=on_delta)


class SleepsOnTheLoop(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if on_delta is None and any("what tea is" in message.text for message in request.messages):
            time.sleep(0.21)  # noqa: ASYNC251  # this is what the suite must find
        return await super().complete(request, on_delta=on_delta)


class TurnsCancellationIntoAnError(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        try:
            return await super().complete(request, on_delta=on_delta)
        except anyio.get_cancelled_exc_class():
            raise ProviderUnavailable("the call was interrupted") from None


class BreaksWhenCancelled(Good):
    is_broken = False

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if self.is_broken:
            raise ProviderUnavailable("the connection is in an unknown state")
        try:
            return await super().complete(request, on_delta=on_delta)
        except anyio.get_cancelled_exc_class():
            self.is_broken = True
            raise


class RaisesAnotherTimeout(Good):
    keeps_time = True

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if request.timeout is not None and request.timeout < 1:
            raise ProviderUnavailable("read timeout")
        return await super().complete(request, on_delta=on_delta)


class BoundToItsFirstLoop(Good):
    loop: object = None

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        own = threading.get_ident(), anyio.lowlevel.current_token()
        self.loop = self.loop or own
        if self.loop != own:
            raise RuntimeError("Event loop is closed")
        return await super().complete(request, on_delta=on_delta)


class ClosesOnce(Good):
    is_closed = False

    async def aclose(self) -> None:
        if self.is_closed:
            raise RuntimeError("it is closed already")
        self.is_closed = True


class Prints(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        print("asking", request.model)
        return super().answer(request)


class LogsWarnings(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        logging.getLogger("good").warning("this model is old")
        return super().answer(request)


class LeavesASocketOpen(Good):
    def answer(self, request: ProviderRequest) -> ProviderResponse:
        socket.socket()
        return super().answer(request)


class LeavesTasksBehind(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        import asyncio

        self.task = asyncio.create_task(asyncio.sleep(3600), name="keep-alive")
        return await super().complete(request, on_delta=on_delta)


class ShowsItsKey(Good):
    def __repr__(self) -> str:
        assert isinstance(self._key, Secret)
        return f"ShowsItsKey({self._key.reveal()})"


class KeepsItsKeyAsText(Good):
    def __init__(self, key: str = SECRET) -> None:
        self._key = key


class QuotesItsKey(Good):
    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        try:
            return await super().complete(request, on_delta=on_delta)
        except BadRequest as error:
            assert isinstance(self._key, Secret)
            raise BadRequest("refused") from ValueError(f"Bearer {self._key.reveal()}", error)


BROKEN: Mapping[type[Good], tuple[str, str]] = {
    NamedWithAColon: ("made", r"its name is 'good:one'"),
    Inconstant: ("capabilities", r"context_tokens=1, .* and then .*context_tokens=2, "),
    AsksWhilePlanning: ("capabilities", r"opened a connection to \('127.0.0.1', \d+\)"),
    UnsupportedUnknown: ("capabilities", r"unsupported is .*'temprature'"),
    Mute: ("answers", r"the text of the answer to a plain prompt is ''"),
    VendorsWord: ("fields", r"finish_reason is 'end_turn'; it must be one of stop, length"),
    RawObjects: ("fields", r"raw is no plain data: .*object"),
    PartsOverTotals: ("usage", r"usage.cached_tokens \(5\) is more than input_tokens \(3\)"),
    LosesTheLastPiece: ("pieces", r"the pieces make 'Say in one sentence what tea i.*', but the text is '.*tea is.'"),
    SpeaksAfterwards: ("pieces", r"another thread|called after complete\(\) had returned, with 'late'"),
    SplitsAtEveryLineEnd: ("unicode", r"came back as .*a\\nb\\nc"),
    HatesSeeds: ("settings", r"a request with seed=7: complete\(\) raised BadRequest: no seeds, please"),
    HatesExtra: ("extra", r"raised TypeError: unexpected fields \['llmorch_probe'\]"),
    ChangesTheRequest: ("unchanged", r"complete\(\) changed tools of the request"),
    TripsOverOddRequests: ("odd-requests", r"a request with no message at all: IndexError"),
    ForgetsTheTree: ("unknown-model", r"complete\(\) raised KeyError: 'llmorch-no-such-model', which is no error of"),
    ProseForASchema: ("schema", r"is no JSON: 'Sure! "),
    ParsedArguments: ("tools", r"the arguments are no JSON text: 'city=Bergen'"),
    ForgetsForeignIds: ("tool-rounds", r"with another vendor's tool calls and their results: .* does not match"),
    SaysItDoesNotWork: ("optional-methods", r"check\(detailed=False\) says that it does not work: no"),
    OneAtATime: ("many-at-once", r"19 of 20 calls at once failed; the first: ProviderUnavailable: busy"),
    MixesAnswersUp: ("many-at-once", r"the answer to 'Say number \d+ .*' is 'Say number 19 "),
    SleepsOnTheLoop: ("loop-left-free", r"nothing else could run for 0\.[2-9]\d s"),
    TurnsCancellationIntoAnError: (
        "cancelled",
        r"a call cancelled after 0 ms ended with ProviderUnavailable: the call",
    ),
    BreaksWhenCancelled: ("cancelled", r"a prompt after a call cancelled after 0 ms: .* unknown state"),
    RaisesAnotherTimeout: ("timeout", r"timeout=0.0001 gave ProviderUnavailable: read timeout, not TimedOut"),
    BoundToItsFirstLoop: ("two-loops", r"on the second of two loops: .* RuntimeError: Event loop is closed"),
    ClosesOnce: ("closing", r"a second aclose\(\) raised RuntimeError|aclose\(\) raised RuntimeError"),
    Prints: ("quiet", r"it printed 'asking echo'"),
    LogsWarnings: ("quiet", r"it logged WARNING good: this model is old"),
    LeavesASocketOpen: ("quiet", r"it warned ResourceWarning: unclosed <socket"),
    LeavesTasksBehind: ("no-tasks-left", r"\d task\(s\) live on after aclose\(\): keep-alive"),
    ShowsItsKey: ("secret", r"the secret stands in repr\(provider\)"),
    KeepsItsKeyAsText: ("secret", r"the secret stands in the provider's attribute '_key'"),
    QuotesItsKey: ("secret", r"the secret stands in the cause's text of the error for an unknown model \(BadRequest\)"),
}


def test_a_provider_that_keeps_every_rule_passes_on_both_backends() -> None:
    report = check_provider(Good, secret=SECRET, echoes=True)
    assert report.provider == "good"
    assert report.model == "echo"
    assert not report.broken
    assert set(report.skipped) == {
        "timeout", "refused-connection", "silent-server", "error-statuses", "strange-answers", "echoed-key",
    }  # fmt: skip
    assert {one.backend for one in report.checks} == {"asyncio", "trio"}
    assert "good" in str(report)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # one provider leaves sockets open, and must be found by the suite
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_provider_breaks_the_one_rule_it_breaks(broken: type[Good]) -> None:
    rule, seen = BROKEN[broken]
    with pytest.raises(ConformanceFailed, match=seen) as caught:
        check_provider(broken, secret=SECRET, echoes=True, backends=ON_ASYNCIO)
    report = caught.value.report
    assert report is not None
    assert report.broken == (rule,)
    text = str(caught.value)
    (kept,) = [one for one in report.checks if one.rule == rule]
    assert kept.sentence in text
    assert f"    do: {kept.remedy}" in text
    assert SECRET not in text


def test_what_only_one_backend_shows_is_said_of_that_backend() -> None:
    class OnlyAsyncio(Good):
        def answer(self, request: ProviderRequest) -> ProviderResponse:
            import asyncio

            asyncio.get_running_loop()
            return super().answer(request)

    with pytest.raises(ConformanceFailed, match=r"seen \(trio\): .*no running event loop") as caught:
        check_provider(OnlyAsyncio, model="echo")
    assert caught.value.report is not None
    assert caught.value.report.broken == ("answers",)
    assert caught.value.report.skipped["pieces"] == "the rule 'answers' is broken"


def test_every_broken_rule_is_told_at_once() -> None:
    class Worse(VendorsWord, HatesSeeds, PartsOverTotals):
        pass

    with pytest.raises(ConformanceFailed) as caught:
        check_provider(Worse, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("fields", "usage", "settings")


class Deaf(Good):
    """Goes on though it is cancelled, and would for ever."""

    let_go = threading.Event()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        while not self.let_go.is_set():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
        return await super().complete(request, on_delta=on_delta)


def test_a_provider_that_hangs_costs_its_limit_and_not_the_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmorch.testing._suite._GRACE_S", 0.2)
    start = time.monotonic()
    try:
        with pytest.raises(ConformanceFailed, match=r"it hangs: not even cancelling it after 0.1 s ended it"):
            check_provider(Deaf, model="echo", backends=ON_ASYNCIO, limit_s=0.1)
    finally:
        Deaf.let_go.set()
    assert time.monotonic() - start < 5


def test_a_factory_that_fails_is_told_as_what_it_is() -> None:
    def factory() -> Good:
        raise OSError("no such file: key.txt")

    with pytest.raises(ConformanceFailed, match=r"the factory raised OSError: no such file: key.txt") as caught:
        check_provider(factory, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("made",)


def test_a_rule_may_be_waived_for_a_reason_and_only_by_its_name() -> None:
    report = check_provider(Prints, waive={"quiet": "a demonstration"}, backends=ON_ASYNCIO)
    assert report.skipped["quiet"] == "waived: a demonstration"
    with pytest.raises(ValueError, match="no rule 'quite'; did you mean 'quiet'"):
        check_provider(Good, waive={"quite": "a slip"})


# Servers that fail: a provider over HTTP that is careless in one way each.


class OverHttp(Good):
    """Speaks a tiny protocol over HTTP, with the classes of the tree; what it may do wrong are its arguments."""

    def __init__(self, url: str = "", *, careless: str = "") -> None:
        super().__init__()
        self._url = url
        self._careless = careless

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        if not self._url:
            return await super().complete(request, on_delta=on_delta)
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                with anyio.fail_after(request.timeout):
                    reply = await client.post(f"{self._url}/answer", json={"ask": "x"}, timeout=None)
        except TimeoutError:
            raise TimedOut("too slow") from None
        except httpx.TransportError as error:
            if self._careless == "connection":
                raise
            raise ProviderUnavailable(type(error).__name__) from None
        if reply.status_code == 200 and self._careless == "trusting":
            return ProviderResponse(reply.json()["text"])
        raise self._error(reply.status_code, reply.text, reply.headers)

    def _error(self, status: int, said: str, headers: Mapping[str, str]) -> ProviderError:
        said = said if self._careless == "quoting" else ""
        if status == 429:
            wait = None if self._careless == "retry-after" else float(headers["retry-after"])
            return RateLimited("slow down", retry_after=wait)
        if status >= 500:
            return ProviderUnavailable(f"status {status}: {said}")
        kinds = {200: BadAnswer, 204: BadAnswer, 302: BadAnswer, 401: AuthenticationFailed, 403: AuthenticationFailed}
        return {**kinds, 413: ContextTooLong}.get(status, BadRequest)(f"status {status}: {said}")

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        return ProviderStatus(not self._url)


class NeverTimesOut(OverHttp):
    keeps_time = True

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        return await super().complete(replace(request, timeout=None), on_delta=on_delta)


AT: Mapping[str, tuple[Callable[[str], Good], str, str]] = {
    "connection": (
        lambda url: OverHttp(url, careless="connection"),
        "refused-connection",
        r"complete\(\) raised httpx.ConnectError",
    ),
    "retry-after": (
        lambda url: OverHttp(url, careless="retry-after"),
        "error-statuses",
        r"status 429 with retry-after: 7 gave retry_after=None",
    ),
    "trusting": (
        lambda url: OverHttp(url, careless="trusting"),
        "strange-answers",
        r"complete\(\) raised json.decoder.JSONDecodeError",
    ),
    "quoting": (
        lambda url: OverHttp(url, careless="quoting"),
        "echoed-key",
        r"the secret stands in the text of the error for a server that repeats the key with status 400",
    ),
}


def test_a_provider_that_is_careful_with_servers_passes() -> None:
    report = check_provider(OverHttp, secret=SECRET, at=OverHttp)
    assert not report.broken
    assert set(report.skipped) == {"timeout"}


@pytest.mark.parametrize("careless", AT)
def test_carelessness_with_a_server_is_found(careless: str) -> None:
    at, rule, seen = AT[careless]
    with pytest.raises(ConformanceFailed, match=seen) as caught:
        check_provider(OverHttp, secret=SECRET, at=at, backends=ON_ASYNCIO)
    assert caught.value.report is not None
    assert rule in caught.value.report.broken
    assert set(caught.value.report.broken) <= {rule, "strange-answers"}


def test_a_call_that_ignores_its_timeout_is_found() -> None:
    with pytest.raises(ConformanceFailed, match=r"complete\(\) did not end within 0.5 s") as caught:
        check_provider(NeverTimesOut, at=NeverTimesOut, backends=ON_ASYNCIO, limit_s=0.5)
    assert caught.value.report is not None
    assert caught.value.report.broken == ("silent-server",)


@pytest.mark.anyio
async def test_the_report_can_be_awaited_in_an_async_test() -> None:
    report = await check_provider(lambda: ScriptedProvider({"*": '{"answer": "yes"}'}), model="m", backends=["asyncio"])
    assert not report.broken
