"""Around one call: retries, fallback, output repair, usage, cost, hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel

from llmorch import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    Block,
    CallFinished,
    CallStarted,
    ContentRefused,
    ContextTooLong,
    EmptyResponse,
    Event,
    LLMOrchError,
    Message,
    Orchestrator,
    OutputInvalid,
    Payload,
    Price,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    Retry,
    StepError,
    StreamTruncated,
    TimedOut,
    Usage,
    Workflow,
)
from llmorch.ports import Call, Capabilities, Proceed, ProviderRequest, ProviderResponse
from llmorch.testing import Reply, ScriptedProvider
from tests.flow.stage import kinds, stage

pytestmark = pytest.mark.anyio
NEVER = Retry(attempts=1)


class Facts(BaseModel):
    title: str
    count: int


def limited(**about: Any) -> RateLimited:
    return RateLimited("slow down", status=429, **about)


# Retries


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("down"),
        ProviderUnavailable("down", status=503),
        TimedOut("stalled"),
        StreamTruncated("cut"),
        limited(),
        ProviderError("timeout", status=408),
        ProviderError("conflict", status=409),
        ProviderUnavailable("busy", status=529),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'status', None)}",
)
async def test_what_may_pass_is_tried_again(error: Exception) -> None:
    async with stage({"p": [error, "fine"]}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.output == "fine"
        assert run.steps["p"].response.calls == 2
        assert [type(call.error) for call in run.steps["p"].calls] == [type(error), type(None)]


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("no", status=400),
        BadRequest("no such model", status=404),
        AuthenticationFailed("bad key", status=401),
        ContextTooLong("too long", status=413),
        ContentRefused("no", text="I will not"),
        limited(spend_limit=True),
        limited(retry_after=500),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.args[0]}",
)
async def test_what_will_not_pass_is_asked_once(error: ProviderError) -> None:
    async with stage({"p": error}) as s:
        began = anyio.current_time()
        run = await s.orch.run(Payload("p", "x"))
        assert run.status == "failed"
        assert type(run.error) is type(error)
        assert run.error.step == "p"
        assert len(s.asked) == 1
        assert anyio.current_time() == began


async def test_an_answer_in_no_format_is_tried_once_more() -> None:
    async with stage({"p": BadAnswer("html")}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert isinstance(run.error, BadAnswer)
        assert len(s.asked) == 2


@pytest.mark.parametrize("attempts", [1, 2, 4, None])
async def test_attempts_bound_the_tries(attempts: int | None) -> None:
    retry = None if attempts is None else Retry(attempts=attempts)
    async with stage({"p": ProviderUnavailable("down")}) as s:
        await s.orch.run(Payload("p", "x", retry=retry))
        assert len(s.asked) == (attempts or 4)


async def test_the_last_error_is_raised_and_the_first_is_kept() -> None:
    errors = [ProviderUnavailable("one"), limited(), ProviderUnavailable("three")]
    async with stage({"p": errors}) as s:
        run = await s.orch.run(Payload("p", "x", retry=Retry(attempts=3)))
        assert isinstance(run.error, ProviderUnavailable)
        assert "three" in str(run.error)
        assert run.error.first is errors[0]
        assert run.error.__cause__ is errors[0]
        again = (await s.orch.get(run.id)).error
        assert isinstance(again, ProviderUnavailable)
        assert str(again.__cause__).endswith("one")


async def test_waits_grow_and_stay_under_the_cap() -> None:
    async with stage({"p": ProviderUnavailable("down")}) as s:
        began = anyio.current_time()
        await s.orch.run(Payload("p", "x", retry=Retry(attempts=5, base=1, cap=4)))
        assert 0 < anyio.current_time() - began <= 1 + 2 + 4 + 4


@pytest.mark.parametrize("hint", [7.0, 119.0])
async def test_a_server_that_names_a_time_is_given_that_time(hint: float) -> None:
    async with stage({"p": [limited(retry_after=hint), "fine"]}) as s:
        began = anyio.current_time()
        run = await s.orch.run(Payload("p", "x", retry=Retry(base=0.01, cap=0.02)))
        assert run.output == "fine"
        assert anyio.current_time() - began == pytest.approx(hint, rel=0.02)
        first = next(event for event in await s.log(run) if isinstance(event, CallFinished))
        assert first.not_before is not None
        assert first.not_before - first.at_us == pytest.approx(hint * 1e6, rel=0.05)


async def test_a_plain_exception_of_a_provider_is_named_and_chained() -> None:
    async with stage({"p": ZeroDivisionError("oops")}) as s:
        run = await s.orch.run(Payload("p", "x", retry=NEVER))
        assert isinstance(run.error, ProviderError)
        assert "oops" in str(run.error)
        assert isinstance(run.error.__cause__, ZeroDivisionError)


# Fallback


def two(first: object, second: object, **about: Any) -> tuple[Orchestrator, ScriptedProvider, ScriptedProvider]:
    one, other = ScriptedProvider({"*": first}, name="one"), ScriptedProvider({"*": second}, name="two", **about)
    return Orchestrator(providers=[one, other]), one, other


def hopping(**about: Any) -> Payload[Any]:
    given: dict[str, Any] = {"model": "one:m", "fallback": ["two:n"], "retry": NEVER, **about}
    return Payload("p", "x", **given)


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("down"),
        limited(retry_after=500),
        limited(spend_limit=True),
        AuthenticationFailed("bad key"),
        ContextTooLong("long"),
        ContentRefused("no"),
        StreamTruncated("cut"),
        BadAnswer("html"),
        TimedOut("stalled"),
        "",
    ],
    ids=str,
)
async def test_what_another_model_may_mend_goes_on_to_it(error: object) -> None:
    orch, one, other = two(error, "mended")
    async with orch:
        run = await orch.run(hopping())
        assert run.output == "mended"
        response = run.steps["p"].response
        assert response is not None
        assert response.model == "two:n"
        assert response.provider == "two"
        assert (len(one.requests), len(other.requests)) == (1, 1)
        codes = [warning.code for warning in run.warnings]
        assert codes == (["key-rejected"] if isinstance(error, AuthenticationFailed) else [])


async def test_a_bad_request_does_not_go_on() -> None:
    orch, _, other = two(BadRequest("no"), "mended")
    async with orch:
        assert isinstance((await orch.run(hopping())).error, BadRequest)
        assert other.requests == []


async def test_an_answer_of_the_wrong_type_goes_on_after_its_repairs() -> None:
    orch, one, other = two("no json", Facts(title="t", count=1))
    async with orch:
        run = await orch.run(hopping(output=Facts, output_retries=1))
        assert run.output == Facts(title="t", count=1)
        assert (len(one.requests), len(other.requests)) == (2, 1)


async def test_each_model_has_all_attempts_and_the_last_error_has_the_first_in_its_chain() -> None:
    orch, one, other = two(ProviderUnavailable("first"), ProviderUnavailable("last"))
    async with orch:
        run = await orch.run(hopping(retry=Retry(attempts=3, base=0)))
        assert (len(one.requests), len(other.requests)) == (3, 3)
        assert "last" in str(run.error)
        assert "first" in str(run.error.__cause__)
        assert [call.model for call in run.steps["p"].calls] == ["one:m"] * 3 + ["two:n"] * 3
        assert [call.call for call in run.steps["p"].calls] == [1, 2, 3, 4, 5, 6]


async def test_a_hop_drops_settings_its_model_does_not_take() -> None:
    about = Capabilities(unsupported=frozenset({"temperature"}))
    orch, _, other = two(ProviderUnavailable("down"), "ok", capabilities=about)
    async with orch:
        run = await orch.run(hopping(temperature=0.5, seed=1))
        assert run.output == "ok"
        assert other.requests[0].settings.given() == {"seed": 1}
        assert [warning.code for warning in run.warnings] == ["setting-dropped"]
        assert "temperature" in run.warnings[0].text


async def test_a_steps_timeout_does_not_go_on() -> None:
    orch, _, other = two(Reply("late", 50), "ok")
    wf = Workflow("w")
    wf.add(hopping(), timeout=3)
    async with orch:
        assert isinstance((await orch.run(wf)).error, TimedOut)
        assert other.requests == []


# Output


@pytest.mark.parametrize(
    ("output", "answer", "value"),
    [
        (str, "text", "text"),
        (Facts, '{"title": "t", "count": 2}', Facts(title="t", count=2)),
        (Facts, '```json\n{"title": "t", "count": 2}\n```', Facts(title="t", count=2)),
        (list[int], [[1, 2]], [1, 2]),
        (int, "5", 5),
        (bool, "true", True),
        (Literal["a", "b"], "a", "a"),
        (Facts | int, "3", 3),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": 1}, {"a": 1}),
    ],
)
async def test_an_answer_becomes_its_type(output: Any, answer: object, value: object) -> None:
    async with stage({"p": answer}) as s:
        run = await s.orch.run(Payload("p", "x", output=output))
        assert run.output == value
        assert type(run.output) is type(value)
        assert run["p"] == value
        response = run.steps["p"].response
        assert response is not None
        assert response.value == value
        sent = s.provider.requests[0].output_schema
        assert (sent is None) == (output is str)
        if sent is not None:
            assert sent["type"] == "object"


async def test_a_bad_answer_is_sent_back_with_the_error() -> None:
    async with stage({"p": ['{"title": "t", "count": "many"}', Facts(title="t", count=1)]}) as s:
        run = await s.orch.run(Payload("p", "Say.", output=Facts))
        assert run.output == Facts(title="t", count=1)
        again = s.provider.requests[1].messages
        assert [message.role for message in again] == ["user", "assistant", "user"]
        assert again[1].text == '{"title": "t", "count": "many"}'
        assert "count" in again[2].text
        response = run.steps["p"].response
        assert response is not None
        assert response.calls == 2
        assert response.usage == sum((call.usage for call in run.steps["p"].calls if call.usage), Usage())
        assert run.usage.requests == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_after_the_last_repair_the_raw_text_is_in_the_error(retries: int) -> None:
    async with stage({"p": "no json"}) as s:
        run = await s.orch.run(Payload("p", "x", output=Facts, output_retries=retries))
        assert isinstance(run.error, OutputInvalid)
        assert run.error.text == "no json"
        assert run.error.step == "p"
        assert len(s.asked) == retries + 1
        again = (await s.orch.get(run.id)).error
        assert isinstance(again, OutputInvalid)
        assert again.text == "no json"


@pytest.mark.parametrize("text", ["", "  \n"])
@pytest.mark.parametrize("output", [str, Facts])
async def test_an_empty_answer_is_an_error_and_its_usage_counts(text: str, output: Any) -> None:
    async with stage({"p": ProviderResponse(text, usage=Usage(10, 0, requests=1))}) as s:
        run = await s.orch.run(Payload("p", "x", output=output))
        assert isinstance(run.error, EmptyResponse)
        assert run.error.step == "p"
        assert run.usage.input_tokens == 10 * len(s.asked)


async def test_a_cut_text_is_a_warning() -> None:
    async with stage({"p": ProviderResponse("half a sent", usage=Usage(1, 1), finish_reason="length")}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.output == "half a sent"
        assert [(warning.code, warning.step) for warning in run.warnings] == [("truncated", "p")]
        assert run.steps["p"].response.finish_reason == "length"


async def test_a_cut_structured_answer_is_an_error_and_not_repaired() -> None:
    async with stage({"p": ProviderResponse('{"title', usage=Usage(1, 1), finish_reason="length")}) as s:
        run = await s.orch.run(Payload("p", "x", output=Facts))
        assert isinstance(run.error, OutputInvalid)
        assert len(s.asked) == 1


async def test_without_native_structure_the_schema_is_in_the_prompt() -> None:
    provider = ScriptedProvider({"p": '{"title": "t", "count": 2}'}, capabilities=Capabilities(json_schema=False))
    async with Orchestrator(providers=[provider], model="scripted:m") as orch:
        run = await orch.run(Payload("p", Block("s", "Be brief.", role="system"), "Go.", output=Facts))
        assert run.output == Facts(title="t", count=2)
        request = provider.requests[0]
        assert request.output_schema is None
        assert [message.role for message in request.messages] == ["system", "user"]
        assert request.messages[0].text.startswith("Be brief.")
        assert '"title"' in request.messages[0].text
        assert run.steps["p"].response.messages == request.messages  # the prompt exactly as sent


# What is sent


async def test_the_request_holds_what_is_set_and_nothing_else() -> None:
    payload = Payload(
        "p", Block("s", "S", role="system"), "{{ x }}", temperature=0, max_tokens=9, stop=["END"], extra={"top_k": 3},
        timeout=30, history=[Message("user", "before"), Message("assistant", "yes")],
    )  # fmt: skip
    async with stage({"p": "P"}) as s:
        run = await s.orch.run(payload, x="now")
        (request,) = s.provider.requests
        assert request.model == "m"
        assert request.settings.given() == {"temperature": 0, "max_tokens": 9, "stop": ("END",)}
        assert dict(request.extra) == {"top_k": 3}
        assert request.timeout == 30
        assert request.step == "p"
        assert [(m.role, m.text) for m in request.messages] == [
            ("system", "S"), ("user", "before"), ("assistant", "yes"), ("user", "now"),
        ]  # fmt: skip
        assert run.steps["p"].response.messages == request.messages


async def test_the_start_of_a_call_is_committed_before_the_provider_is_asked() -> None:
    async with stage({}) as s:
        seen: list[list[str]] = []

        async def look(request: ProviderRequest) -> str:
            (summary,) = await s.orch.runs()
            seen.append(kinds(await s.log(summary.id)))
            return "P"

        s.provider._script["p"] = look
        run = await s.orch.run(Payload("p", "x"))
        assert seen == [["RunStarted", "StepStarted p", "CallStarted p"]]
        assert kinds(await s.log(run)) == [
            "RunStarted", "StepStarted p", "CallStarted p", "CallFinished p", "StepSucceeded p", "RunFinished",
        ]  # fmt: skip


# Usage and cost


async def test_usage_nobody_reports_is_estimated_with_a_warning() -> None:
    async with stage({"p": ProviderResponse("four", usage=None)}) as s:
        run = await s.orch.run(Payload("p", "twelve chars"))
        assert run.usage.requests == 1
        assert run.usage.input_tokens == 4
        assert run.usage.output_tokens > 0
        assert [warning.code for warning in run.warnings] == ["usage-estimated"]


async def test_an_unknown_price_is_none_and_never_zero() -> None:
    async with stage({"p": "P"}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.cost is None
        assert run.unpriced_calls == 1
        assert run.priced_cost == 0
        assert run.steps["p"].cost is None
        assert run.steps["p"].response.cost is None


async def test_a_given_price_is_counted_to_the_nano_dollar() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=400)
    script = {"p": ProviderResponse("P", usage=usage), "q": "Q"}
    wf = Workflow("w")
    wf.returns([wf.add(Payload("p", "x")), wf.add(Payload("q", "x", model="scripted:other"))])
    async with stage(script, prices={"scripted:m": Price(input=1, output=10, cached=Decimal("0.1"))}) as s:
        run = await s.orch.run(wf)
        expected = Decimal("0.0006") + Decimal("0.00004") + Decimal("0.001")
        assert run.steps["p"].cost == expected
        assert run.priced_cost == expected
        assert run.cost is None
        assert run.unpriced_calls == 1
        finished = (await s.log(run))[-1]
        assert finished.cost is None
        alone = await s.orch.run(Payload("p", "x"))
        assert alone.cost == expected


async def test_a_run_without_calls_costs_nothing() -> None:
    async with stage() as s:
        run = await s.orch.run(free)
        assert run.cost == 0
        assert run.usage == Usage()


def free() -> int:
    return 1


async def test_a_call_of_unknown_end_leaves_the_cost_unknown() -> None:
    wf = Workflow("w")
    wf.add(Payload("p", "x"), timeout=1, on_error="skip")
    async with stage({"p": Reply("P", 9)}, prices={"scripted:m": Price(input=1, output=1)}) as s:
        run = await s.orch.run(wf)
        assert run.cost is None  # it was sent; what it cost is not known, so it is not 0


# Hooks around calls


class Around:
    """Notes what passes, and lets a function decide."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
        self.log.append(f"{self.name} before {call.step} {call.call}")
        response = await proceed(call)
        self.log.append(f"{self.name} after")
        return response


async def test_the_first_hook_is_the_outermost_and_each_try_passes_all() -> None:
    log: list[str] = []
    script = {"p": [ProviderUnavailable("x"), "P"]}
    async with stage(script, hooks=[Around("a", log), Around("b", log)]) as s:
        await s.orch.run(Payload("p", "x"))
    assert log == ["a before p 1", "b before p 1", "a before p 2", "b before p 2", "b after", "a after"]


async def test_a_hook_may_change_the_request_and_the_answer() -> None:
    class Change:
        async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
            request = replace(call.request, messages=(Message("user", "changed"),))
            response = await proceed(replace(call, request=request))
            return replace(response, text=response.text + "!")

    async with stage({"p": lambda request: request.messages[0].text}, hooks=[Change()]) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.output == "changed!"
        assert (await s.orch.get(run.id)).output == "changed!"


async def test_a_hook_may_veto() -> None:
    class Veto:
        async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
            raise PermissionError("not today")

    async with stage({"p": "P"}, hooks=[Veto()]) as s:
        payload = Payload("p", "x", fallback=["scripted:other"])
        run = await s.orch.run(payload)
        assert isinstance(run.error, StepError)
        assert "not today" in str(run.error)
        assert s.asked == []
        assert not any(isinstance(event, CallStarted) for event in await s.log(run))


async def test_a_hook_may_answer_itself() -> None:
    class Answer:
        async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
            return ProviderResponse("from the hook")

    async with stage({}, hooks=[Answer()]) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.output == "from the hook"
        assert s.asked == []
        response = run.steps["p"].response
        assert response is not None
        assert response.text == "from the hook"
        assert response.value == "from the hook"


async def test_a_hook_that_observes_never_fails_a_run() -> None:
    seen: list[str] = []

    class Broken:
        async def on_event(self, event: Event) -> None:
            seen.append(type(event).__name__)
            raise ValueError("a bug in a hook")

    plain: list[Event] = []
    async with stage({"p": "P"}, hooks=[Broken(), plain.append]) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert run.status == "succeeded"
    expected = ["RunStarted", "StepStarted", "CallStarted", "CallFinished", "StepSucceeded", "RunFinished"]
    assert seen == expected
    assert [type(event).__name__ for event in plain] == expected


async def test_a_hook_that_is_slow_delays_no_step() -> None:
    class Slow:
        async def on_event(self, event: Event) -> None:
            await anyio.sleep(1)

    ends: list[float] = []

    async def note() -> None:
        ends.append(anyio.current_time())

    async with stage({}, hooks=[Slow()]) as s:
        began = anyio.current_time()
        await s.orch.run(note)
        assert ends[0] == began


@pytest.mark.parametrize("bad", [object(), 3, Around])
async def test_what_is_no_hook_is_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="hook"):
        Orchestrator(hooks=[bad])


def errors_in(log: Sequence[Event]) -> list[str]:
    return [event.error.type for event in log if isinstance(event, CallFinished) and event.error is not None]


async def test_every_failed_try_is_in_the_log() -> None:
    async with stage({"p": [ProviderUnavailable("a"), limited(), "P"]}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert errors_in(await s.log(run)) == ["ProviderUnavailable", "RateLimited"]


async def test_a_key_in_an_error_is_not_shown() -> None:
    secret = "sk-abcdefghijklmnopqrstuvwx0123456789"
    async with stage({"p": AuthenticationFailed(f"Incorrect API key provided: {secret}", status=401)}) as s:
        run = await s.orch.run(Payload("p", "x"))
        assert secret not in repr(await s.log(run))
        assert isinstance(run.error, LLMOrchError)
