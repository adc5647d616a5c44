"""What a stranger gets wrong: each mistake gives class, step, thing and remedy, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from llmorch import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    Block,
    CallStarted,
    ContentRefused,
    ContextTooLong,
    EmptyResponse,
    InputInvalid,
    LLMOrchError,
    Orchestrator,
    OutputInvalid,
    Payload,
    ProviderUnavailable,
    RateLimited,
    Retry,
    Run,
    RunFailed,
    StepError,
    StepNotRun,
    StreamTruncated,
    TemplateError,
    TimedOut,
    Workflow,
    WorkflowInvalid,
)
from llmorch.providers import OpenAI
from llmorch.testing.mock_server import HANG, RESET, FaultServer, Step, answer, completion, sse

KEY = "sk-canary-7b1e0d2c94"
ECHO = "offline:echo"
TWICE = Retry(2, 0.01)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real time: sockets know no other."""
    return str(request.param)


class Facts(BaseModel):
    title: str
    claims: list[str]


def echo(name: str, text: str, **options: Any) -> Payload[Any]:
    return Payload(name, text, model=ECHO, **options)


def faults_of(workflow: Workflow[Any], **inputs: Any) -> str:
    """What the plan says, and that a run says the same before anything is started."""
    with pytest.raises(WorkflowInvalid) as planned:
        workflow.plan(**inputs)
    with pytest.raises(WorkflowInvalid) as run:
        workflow.run_sync(**inputs)
    assert run.value.faults == planned.value.faults
    return "\n".join(planned.value.faults)


# Before anything is sent


def test_a_typo_in_a_variable_is_told_with_the_step_and_the_nearest_name() -> None:
    workflow = Workflow("w")
    workflow.input("article")
    workflow.add(echo("outline", "Outline {{ artcle }}"))
    said = faults_of(workflow, article="x")
    assert "Step 'outline'" in said
    assert "did you mean 'article'?" in said
    assert "wf.input('artcle')" in said


def test_a_typo_in_a_field_is_told_with_the_fields_there_are() -> None:
    workflow = Workflow("w")
    workflow.add(Payload("facts", "Facts of {{ article }}", model=ECHO, output=Facts))
    workflow.add(echo("post", "line\n{{ facts.titel }}"))
    said = faults_of(workflow, article="x")
    assert "Step 'post'" in said
    assert "line 2" in said
    assert "did you mean 'title'?" in said


def test_a_missing_an_unknown_and_a_misfitting_input_are_told_at_once() -> None:
    workflow = Workflow.of(echo("outline", "{{ article }} {{ count }}"), name="w")
    workflow.input("count", int)
    with pytest.raises(InputInvalid) as info:
        workflow.run_sync(artcle="x", count="many")
    said = str(info.value)
    assert "input 'article' is missing" in said
    assert "no input 'artcle'" in said
    assert "input 'count' is no int" in said


def test_an_unknown_provider_is_told_with_the_nearest_one() -> None:
    said = faults_of(Workflow.of(Payload("asked", "x", model="opnai:gpt-5"), name="w"))
    assert "Step 'asked'" in said
    assert "no provider named 'opnai'; did you mean 'openai'?" in said


def test_a_model_without_a_provider_is_told_how_an_id_is_written() -> None:
    assert "Step 'asked': 'gpt-5' is no model id; write 'provider:model'" in faults_of(
        Workflow.of(Payload("asked", "x", model="gpt-5"), name="w")
    )


def test_no_model_at_all_is_told_with_every_way_to_name_one() -> None:
    said = faults_of(Workflow.of(Payload("asked", "x"), name="w"))
    for way in ("model='provider:model'", "Orchestrator(model=...)", "LLMORCH_MODEL", "offline:auto"):
        assert way in said


@pytest.mark.parametrize("key", [None, "", "  "])
def test_no_key_is_told_with_the_variable_to_set(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    said = faults_of(Workflow.of(Payload("asked", "x", model="openai:gpt-5-mini"), name="w"))
    assert "Step 'asked': 'openai:gpt-5-mini' needs a key: set OPENAI_API_KEY" in said


def test_faults_of_every_kind_are_told_in_one_error() -> None:
    workflow = Workflow("w")
    workflow.input("article")
    workflow.add(echo("one", "{{ artcle }}"))
    workflow.add(Payload("two", "{{ one }}", model="opnai:x"), extra=1)
    workflow.add(echo("three", "{{ two }}"), when="twoo == 'a'")
    said = faults_of(workflow, article="x")
    for part in ("'artcle'", "'opnai'", "'extra'", "'twoo'"):
        assert part in said


# Templates

BROKEN = {
    "an open brace": ("line one\nOutline {{ article", 2, "end of"),
    "an unknown filter": ("one\ntwo\n{{ article | bulets }}", 3, "did you mean 'bullets'?"),
    "an open loop": ("{% for x in xs %}\n{{ x }}", 2, "endfor"),
}


@pytest.mark.parametrize(("text", "line", "said"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("make", [Block, Payload], ids=["block", "payload"])
def test_a_template_that_cannot_be_read_is_told_with_block_and_line(
    make: Callable[[str, str], object], text: str, line: int, said: str
) -> None:
    with pytest.raises(TemplateError) as info:
        make("voice", text)
    assert info.value.line == line
    assert f"line {line}" in str(info.value)
    assert said in str(info.value)
    assert "'voice" in str(info.value)


@pytest.mark.anyio
async def test_a_template_that_cannot_be_rendered_is_told_with_step_block_and_line() -> None:
    async with Orchestrator(model=ECHO) as orch, nothing_left_behind():
        workflow = two_branches(Payload("asked", Block("body", "one\n{{ x }}\n{{ article.title.name }}")))
        run = await orch.run(workflow, article={"id": 1}, x=1)
    assert_failed(run, TemplateError, "Block 'body'", "line 3", "'article' has no 'title'; it has 'id'")


# Functions


def raises_value_error(article: str) -> str:
    raise ValueError("bad luck")


async def raises_in_the_loop(article: str) -> str:
    raise ValueError("bad luck")


async def raises_several(article: str) -> str:
    raise ExceptionGroup("two", [ValueError("bad luck"), ValueError("worse luck")])


@pytest.mark.anyio
@pytest.mark.parametrize("function", [raises_value_error, raises_in_the_loop, raises_several])
async def test_a_function_that_raises_fails_its_step_with_the_cause_chained(function: Callable[..., Any]) -> None:
    async with Orchestrator(model=ECHO) as orch, nothing_left_behind():
        run = await orch.run(two_branches(function), article="text")
    error = assert_failed(run, StepError, "Step 'asked'")
    assert isinstance(error.__cause__, ValueError | ExceptionGroup)
    assert str(error.__cause__) in str(error)


@pytest.mark.anyio
async def test_a_function_whose_value_does_not_fit_its_annotation_is_named() -> None:
    def count(article: str) -> int:
        return article  # type: ignore[return-value]  # the mistake under test

    async with Orchestrator(model=ECHO) as orch:
        run = await orch.run(two_branches(count), article="many")
    assert_failed(run, LLMOrchError, "int")


_EXITS = """
import sys, anyio
from llmorch import Node, Orchestrator, Workflow

def leaves(): sys.exit(3)
async def leaves_in_the_loop(): sys.exit(3)
def other(): return "fine"

def parts(function):
    wf = Workflow("w")
    wf.add(other)
    wf.add(function, name="asked")
    return wf.returns({"a": Node("other"), "b": Node("asked")})

async def main(function):
    async with Orchestrator() as orch:
        run = await orch.run(parts(function))
        print(run.status, run.error, run["other"])

for function in (leaves, leaves_in_the_loop):
    for backend in ("asyncio", "trio"):
        anyio.run(main, function, backend=backend)
    run = parts(function).run_sync()
    print(run.status, run.error, run["other"])
"""


def test_a_function_that_exits_fails_its_step_and_not_the_process() -> None:
    done = python(_EXITS)
    assert done.stdout.splitlines() == [_SAID] * 6, done.stderr
    assert done.returncode == 0


_SAID = "failed Step 'asked' called sys.exit(3); a step ends by returning, or by raising an Exception fine"

_INTERRUPTED = """
import os, signal, threading, anyio
from llmorch import Workflow

signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background may have it ignored
stopped = threading.Event()

async def endless():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await anyio.sleep(3600)
    finally:
        stopped.set()

try:
    Workflow.of(endless, name="w").run_sync()
except KeyboardInterrupt:
    print("interrupted, stopped:", stopped.wait(5))

def again():
    return "again"

print(Workflow.of(again, name="w").run_sync().output)
"""


def test_an_interrupted_run_sync_leaves_nothing_running() -> None:
    done = python(_INTERRUPTED)
    assert done.stdout.splitlines() == ["interrupted, stopped: True", "again"], done.stderr


def test_an_interrupt_that_comes_just_before_the_wait_is_not_lost() -> None:
    as_flag = "import _thread\n" + _INTERRUPTED.replace(
        "os.kill(os.getpid(), signal.SIGINT)", "_thread.interrupt_main()"
    )
    done = python(as_flag)  # it marks the signal as come, and wakes nobody
    assert done.stdout.splitlines() == ["interrupted, stopped: True", "again"], done.stderr


_INTERRUPTED_ANYWHERE = """
import sys
from llmorch import Workflow

left = 0

def interrupt(frame, event, argument):
    global left
    left -= 1
    if left == 0:
        raise KeyboardInterrupt
    return interrupt

def answer():
    return 42

wf = Workflow.of(answer, name="w")
assert wf.run_sync().output == 42
from llmorch.sync import _current

portal = _current()

async def soon():
    return 42

at = interrupted = 0
while left <= 0:
    left = at = at + 1
    sys.settrace(interrupt)
    try:
        portal.call(soon)
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        sys.settrace(None)
    assert wf.run_sync().output == 42
print(interrupted > 20)
"""


def test_an_interrupt_at_any_line_of_the_wait_leaves_the_loop_working() -> None:
    done = python(_INTERRUPTED_ANYWHERE)
    assert done.stdout.splitlines() == ["True"], done.stderr


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)


# Providers

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
_CUT = sse(["one ", "two "], finish_reason=None, usage=False, done=False)
_MODELS = answer(200, {"object": "list", "data": [{"id": "mock-model"}, {"id": "other"}]})
_REFUSAL = {
    "choices": [{"index": 0, "message": {"role": "assistant", "refusal": "I will not"}, "finish_reason": "stop"}]
}


class Case(NamedTuple):
    error: type[LLMOrchError]
    requests: int
    said: tuple[str, ...]
    scripts: tuple[Sequence[Step], ...]


def error_body(text: str, code: str = "") -> dict[str, Any]:
    return {"error": {"message": text, "type": "error", "code": code}}


ANSWERS = {
    "401": Case(
        AuthenticationFailed,
        1,
        ("401", "check the key", "[redacted]"),
        (answer(401, error_body(f"Incorrect API key provided: {KEY}", "invalid_api_key")),),
    ),
    "403": Case(AuthenticationFailed, 1, ("403", "what it may use"), (answer(403, error_body("no access")),)),
    "404": Case(
        BadRequest,
        2,  # the second asks for the models there are
        ("404", "'mock-modle'", "similar name: 'mock-model'"),
        (answer(404, error_body("no such model", "model_not_found")), _MODELS),
    ),
    "404 and no list": Case(
        BadRequest, 2, ("404", "'mock-modle'", "change the model"), (answer(404, error_body("no such model")),)
    ),
    "429": Case(RateLimited, 2, ("429", "slow down", "wait"), (answer(429, error_body("slow down")),)),
    "429 for too long": Case(
        RateLimited, 1, ("429",), (answer(429, error_body("slow down"), headers={"retry-after": "500"}),)
    ),
    "429 for the quota": Case(
        RateLimited, 1, ("429", "billing"), (answer(429, error_body("quota", "insufficient_quota")),)
    ),
    "500": Case(ProviderUnavailable, 2, ("500", "try again later"), (answer(500, b"<h1>oops</h1>", kind="text/html"),)),
    "400": Case(
        BadRequest, 1, ("400", "Invalid temperature", "settings"), (answer(400, error_body("Invalid temperature")),)
    ),
    "too long": Case(
        ContextTooLong, 1, ("shorten the prompt",), (answer(400, error_body("too long", "context_length_exceeded")),)
    ),
    "malformed JSON": Case(BadAnswer, 2, ("no JSON", "check base_url"), (answer(200, b'{"choices": [{'),)),
    "HTML": Case(BadAnswer, 2, ("<html>", "check base_url"), (answer(200, b"<html>log in</html>", kind="text/html"),)),
    "other JSON": Case(BadAnswer, 2, ("no chat completion", "check base_url"), (answer(200, {"hello": 1}),)),
    "an empty answer": Case(EmptyResponse, 1, ("without text", "max_tokens", "prompt"), (answer(200, completion("")),)),
    "a refusal": Case(ContentRefused, 1, ("I will not", "change the prompt"), (answer(200, _REFUSAL),)),
    "a reset": Case(ProviderUnavailable, 2, ("check base_url",), ((RESET,),)),
    "a cut body": Case(ProviderUnavailable, 2, ("broke the connection",), ((_JSON + b'{"choices":',),)),
}
STREAMED = {
    "a stream without text": Case(EmptyResponse, 1, ("without text",), ((_STREAM + sse([]),),)),
    "a stream cut between events": Case(StreamTruncated, 2, ("ended before the answer did",), ((_STREAM + _CUT,),)),
    "a stream cut in a chunk": Case(StreamTruncated, 2, ("try again",), ((_CHUNKED + b"fff\r\n" + _CUT,),)),
    "a stream with a reset": Case(
        ProviderUnavailable,
        2,
        ("broke the connection",),
        ((_CHUNKED + b"%x\r\n%b\r\n" % (len(_CUT), _CUT), 0.05, RESET),),
    ),
}


def two_branches(asked: Payload[Any] | Callable[..., Any]) -> Workflow[Any]:
    """A step that works beside the one under test, and one that reads both."""
    workflow = Workflow("w")
    workflow.input("article", object)
    workflow.add(echo("other", "beside {{ article }}"))
    workflow.add(asked, name="asked")
    workflow.add(echo("join", "{{ other }} {{ asked }}"))
    return workflow


def assert_failed(run: Run[Any], kind: type[LLMOrchError], *said: str) -> BaseException:
    """The run failed in 'asked' with this error, and tells everything else it knows."""
    assert run.status == "failed"
    error = run.steps["asked"].error
    assert isinstance(error, kind), repr(error)
    assert error.step == "asked"
    for part in ("Step 'asked'", *said):
        assert part in str(error)
    assert run["other"].startswith("beside ")
    assert run.steps["join"].status == "pending"
    assert "'asked'" in run.steps["join"].reason
    with pytest.raises(StepNotRun, match="'asked'"):
        _ = run["asked"]
    with pytest.raises(RunFailed) as failed:
        _ = run.output
    assert str(failed.value.__cause__) == str(error)
    assert KEY not in f"{error!r} {run.report()} {run.to_dict()} {run._repr_html_()}"
    return error


def _tasks() -> int:
    try:
        import asyncio

        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


def _own_threads() -> set[threading.Thread]:
    pools = ("AnyIO", "Trio", "asyncio_")  # idle workers stay for the next function or lookup
    return {thread for thread in threading.enumerate() if not thread.name.startswith(pools)}


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """No task is left; nor a thread, and each connection has one at the FaultServer until it is closed."""
    tasks, threads = _tasks(), _own_threads()
    yield
    await until(lambda: _tasks() <= tasks and not _own_threads() - threads)


async def until(true: Callable[[], bool]) -> None:
    """Return as soon as it is true; sockets and threads say no moment to wait for."""
    with anyio.fail_after(2):
        while not true():
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Orchestrator]:
    """An orchestrator whose 'openai' is at that address; once it is closed nothing of it is left."""
    async with nothing_left_behind(), Orchestrator(providers=[OpenAI(api_key=KEY, base_url=url)]) as orch:
        yield orch


async def carried_out(orch: Orchestrator, workflow: Workflow[Any], *, stream: bool) -> Run[Any]:
    if not stream:
        return await orch.run(workflow, article="text")
    async with orch.stream(workflow, article="text") as events:
        async for _ in events:
            pass
    return events.run


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("case", "stream"),
    [
        *(pytest.param(case, False, id=name) for name, case in ANSWERS.items()),
        *(pytest.param(case, True, id=f"{name}, streamed") for name, case in (ANSWERS | STREAMED).items()),
    ],
)
async def test_what_a_provider_answers_badly_is_told_by_class_step_and_remedy(case: Case, stream: bool) -> None:
    with FaultServer(*case.scripts) as server:
        async with asking(server.url) as orch:
            workflow = two_branches(Payload("asked", "{{ article }}", model="openai:mock-modle", retry=TWICE))
            run = await carried_out(orch, workflow, stream=stream)
        assert_failed(run, case.error, *case.said)
        assert len(server.requests) == case.requests
        assert f"Bearer {KEY}" == server.requests[0].headers["authorization"]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_server_that_is_not_there_is_told_with_its_address(stream: bool) -> None:
    with FaultServer() as server:
        url = server.url
    async with asking(url) as orch:
        workflow = two_branches(Payload("asked", "{{ article }}", model="openai:m", retry=TWICE))
        run = await carried_out(orch, workflow, stream=stream)
    error = assert_failed(run, ProviderUnavailable, url.split("/")[2], "check base_url", "whether the server runs")
    assert "timeout" not in str(error).lower()  # it was refused


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_provider_that_never_answers_is_told_with_the_time_it_had(stream: bool) -> None:
    with FaultServer((HANG,)) as server:
        async with asking(server.url) as orch:
            payload = Payload("asked", "{{ article }}", model="openai:m", timeout=0.2, retry=Retry(1))
            run = await carried_out(orch, two_branches(payload), stream=stream)
        assert_failed(run, TimedOut, "0.2 s", "timeout")


@pytest.mark.anyio
async def test_a_stream_left_while_the_provider_hangs_leaves_no_connection() -> None:
    with FaultServer((_CHUNKED, HANG)) as server:
        async with asking(server.url) as orch:
            workflow = two_branches(Payload("asked", "{{ article }}", model="openai:m"))
            async with orch.stream(workflow, article="text") as events:
                async for event in events:
                    if isinstance(event, CallStarted) and event.step == "asked":
                        await until(lambda: bool(server.requests))
                        break
        assert events.run.status == "cancelled"
        assert events.run["other"] == "beside text"


@pytest.mark.anyio
async def test_an_answer_of_the_wrong_shape_is_told_with_the_fields_and_kept_as_text() -> None:
    with FaultServer(answer(200, completion("not JSON")), answer(200, completion('{"title": 1}'))) as server:
        async with asking(server.url) as orch:
            payload = Payload("asked", "{{ article }}", model="openai:m", output=Facts)
            run = await orch.run(two_branches(payload), article="text")
        error = assert_failed(run, OutputInvalid, "Facts", "title", "claims", "output_retries")
        assert isinstance(error, OutputInvalid)
        assert error.text == '{"title": 1}'
        assert "not JSON" in str(server.requests[1].json()["messages"])


@pytest.mark.anyio
async def test_a_retried_error_holds_the_first_one() -> None:
    with FaultServer(answer(500, b"first"), answer(503, b"second")) as server:
        async with asking(server.url) as orch:
            run = await orch.run(Payload("asked", "x", model="openai:m", retry=TWICE))
    error = run.error
    assert isinstance(error, ProviderUnavailable)
    assert error.status == 503
    assert isinstance(error.first, ProviderUnavailable)
    assert "first" in str(error.first)
    assert error.__cause__ is error.first


@pytest.mark.anyio
async def test_a_payload_run_by_itself_raises_the_error_bare() -> None:
    with FaultServer(answer(401, error_body("wrong key"))) as server:
        async with asking(server.url) as orch:
            run = await orch.run(Payload("asked", "x", model="openai:m"))
            with pytest.raises(RunFailed) as info:
                _ = run.output
    assert isinstance(info.value.__cause__, AuthenticationFailed)
    assert run.failures.keys() == {"asked"}
