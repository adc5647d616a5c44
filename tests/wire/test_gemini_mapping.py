"""What the Gemini provider sends, and how it reads whole answers and errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llmorch.errors import (
    AuthenticationFailed,
    BadAnswer,
    BadRequest,
    ContentRefused,
    ContextTooLong,
    MissingCredential,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from llmorch.models.message import File, Image, Message, Text, ToolCall
from llmorch.models.secret import Secret
from llmorch.models.settings import Settings
from llmorch.models.usage import Usage
from llmorch.providers.gemini import Gemini
from llmorch.requests import ProviderRequest, ProviderResponse, ToolSpec

KEY = "AIza-canary-mapping-90aa17"
HELLO = (Message("system", "Be brief."), Message("user", "Hello"))
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolSpec("weather", "The weather of a city.", CITY)
FACTS = {"title": "Facts", "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
SIGNATURE = "EjQKMgEMOdbH"
TOLD = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}


class Wire:
    """Answers every request with the next answer and keeps what was asked."""

    def __init__(self, *answers: Any, status: int = 200) -> None:
        self.answers = list(answers)
        self.status = status
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(self.status, json=answer)

    @property
    def sent(self) -> dict[str, Any]:
        """The body of the last request."""
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body


def says(*parts: Any, finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """An answer of these parts; text stands for a part of text."""
    given = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate = {"content": {"role": "model", "parts": given}, "finishReason": finish, "index": 0}
    return {"candidates": [candidate], "usageMetadata": TOLD, "modelVersion": "gemini-3.8-flash-001", **more}


def called(name: str, args: Any = None, **more: Any) -> dict[str, Any]:
    identity = {"id": more.pop("id")} if "id" in more else {}
    return {"functionCall": {**identity, "name": name, "args": args or {}}, **more}


async def complete(wire: Wire, *, watch: Callable[[str], None] | None = None, **changes: Any) -> ProviderResponse:
    provider = Gemini(api_key=KEY, transport=wire.transport)
    request = ProviderRequest(**{"model": "gemini-3.8-flash", "messages": HELLO, **changes})
    return await provider.complete(request, on_delta=watch)


async def failure(answer: Any, status: int = 200) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await complete(Wire(answer, status=status))
    return caught.value


@pytest.mark.anyio
async def test_only_what_is_set_is_sent_and_the_key_goes_into_its_header() -> None:
    wire = Wire(says("hi"))
    await complete(wire)
    assert wire.sent == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
    }
    sent = wire.requests[-1]
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent"
    assert str(sent.url) == url
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers


@pytest.mark.anyio
async def test_a_function_gives_a_bearer_token() -> None:
    wire = Wire(says("hi"))

    async def token() -> str:
        return "ya29.canary-token"

    provider = Gemini(api_key=token, transport=wire.transport)
    await provider.complete(ProviderRequest("gemini-3.8-flash", HELLO))
    assert wire.requests[-1].headers["authorization"] == "Bearer ya29.canary-token"
    assert "x-goog-api-key" not in wire.requests[-1].headers


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("../secrets?key=1", "models/..%2Fsecrets%3Fkey%3D1"),
    ],
)
async def test_a_model_is_one_segment_of_the_path(model: str, path: str) -> None:
    wire = Wire(says("hi"))
    await complete(wire, model=model)
    assert wire.requests[-1].url.raw_path.decode() == f"/v1beta/{path}:generateContent"


@pytest.mark.anyio
async def test_settings_have_their_names_and_extra_is_merged_into_them() -> None:
    wire = Wire(says("hi"))
    settings = Settings(
        temperature=0.0, max_tokens=7, top_p=0.5, stop=("END",), seed=3, presence_penalty=0.1, frequency_penalty=-0.1
    )
    extra = {
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}, "seed": 4},
        "safetySettings": [],
        "stream": 1,
    }
    await complete(wire, settings=settings, extra=extra)
    assert wire.sent["generationConfig"] == {
        "temperature": 0.0,
        "maxOutputTokens": 7,
        "topP": 0.5,
        "stopSequences": ["END"],
        "seed": 4,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "thinkingConfig": {"thinkingBudget": 0},
    }
    assert wire.sent["safetySettings"] == []
    assert "stream" not in wire.sent


@pytest.mark.anyio
async def test_messages_in_a_row_of_one_role_are_one_turn() -> None:
    wire = Wire(says("hi"))
    messages = [Message("user", "a"), Message("user", "b"), Message("assistant", "c"), Message("assistant", "d")]
    await complete(wire, messages=(*messages, Message("user", "e")))
    assert [(turn["role"], [part["text"] for part in turn["parts"]]) for turn in wire.sent["contents"]] == [
        ("user", ["a", "b"]),
        ("model", ["c", "d"]),
        ("user", ["e"]),
    ]


@pytest.mark.anyio
async def test_a_system_message_alone_is_what_is_asked() -> None:
    wire = Wire(says("hi"))
    await complete(wire, messages=HELLO[:1])
    assert wire.sent == {"contents": [{"role": "user", "parts": [{"text": "Be brief."}]}]}


@pytest.mark.anyio
async def test_images_and_files_go_inline_or_by_address() -> None:
    wire = Wire(says("hi"))
    parts = [
        Text("Look:"),
        Image("data:image/gif;base64,AAAA"),
        File("data:text/plain,hi%20there", media_type="text/plain"),
        Image("https://example.org/a.jpg?size=1"),
        File("https://example.org/b", media_type="application/pdf"),
    ]
    await complete(wire, messages=(Message("user", parts),))
    assert wire.sent["contents"][0]["parts"] == [
        {"text": "Look:"},
        {"inlineData": {"mimeType": "image/gif", "data": "AAAA"}},
        {"inlineData": {"mimeType": "text/plain", "data": base64.b64encode(b"hi there").decode()}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/a.jpg?size=1"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.org/b"}},
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "message",
    [
        Message("user", [Image("data:image/png;base64,???")]),
        Message("user", [Image("data:image/png")]),
        Message("system", [Image("data:image/png;base64,AAAA")]),
        Message("tool", "42", tool_call_id="nobody"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_names_the_step(message: Message) -> None:
    with pytest.raises(BadRequest, match="'draft'"):
        await complete(Wire(says("hi")), messages=(Message("user", "Hello"), message), step="draft")


@pytest.mark.anyio
async def test_tools_are_declared_with_their_whole_schema() -> None:
    wire = Wire(says("hi"))
    bare = ToolSpec("now", "The time.", {"type": "object", "properties": {}})
    await complete(wire, tools=(WEATHER, bare))
    assert wire.sent["tools"] == [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "The weather of a city.", "parametersJsonSchema": CITY},
                {"name": "now", "description": "The time."},
            ]
        }
    ]
    assert "toolConfig" not in wire.sent


@pytest.mark.anyio
async def test_structured_output_is_asked_for_with_its_schema() -> None:
    wire = Wire(says('{"a":"b"}'))
    answer = await complete(wire, output_schema=FACTS, tools=(WEATHER,))
    assert wire.sent["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": FACTS}
    assert answer.text == '{"a":"b"}'


@pytest.mark.anyio
async def test_results_of_one_turn_go_back_together_with_the_parts_and_ids_of_their_calls() -> None:
    first = called("weather", {"city": "Rome"}, id="fc-1", thoughtSignature=SIGNATURE)
    second = called("weather", {"city": "Oslo"})
    thought = {"text": "Two cities.", "thought": True}
    wire = Wire(says(thought, "I look. ", "Twice.", first, second), says("Mild."))
    asked = await complete(wire, tools=(WEATHER,))
    assert asked.finish_reason == "tool_calls"
    assert asked.text == "I look. Twice."
    rome, oslo = asked.tool_calls
    assert (rome.id, rome.name, rome.arguments) == ("fc-1", "weather", '{"city":"Rome"}')
    messages = (
        *HELLO,
        Message("assistant", asked.text, tool_calls=asked.tool_calls, vendor=asked.raw["replay"]),
        Message("tool", "cold", tool_call_id=oslo.id),
        Message("tool", '{"sky": "blue", "id": 9007199254740993}', tool_call_id=rome.id),
        Message("user", "Go on."),
    )
    await complete(wire, messages=messages, tools=(WEATHER,))
    big = '{"sky": "blue", "id": 9007199254740993}'  # a double would lose its last digit
    assert wire.sent["contents"][1:] == [
        {"role": "model", "parts": [{"text": "I look. Twice."}, first, second]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": big}, "id": "fc-1"}},
                {"functionResponse": {"name": "weather", "response": {"result": "cold"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "Go on."}]},
    ]


@pytest.mark.anyio
async def test_calls_without_an_id_get_one_that_stays_the_same() -> None:
    answer = says(called("weather", {"city": "Rome"}), called("weather", {"city": "Rome"}), responseId="r-1")
    once, again = await complete(Wire(answer)), await complete(Wire(answer))
    other = await complete(Wire({**answer, "responseId": "r-2"}))
    ids = [call.id for call in once.tool_calls]
    assert ids == [call.id for call in again.tool_calls]
    assert len({*ids, *(call.id for call in other.tool_calls)}) == 4
    assert "replay" not in once.raw  # nothing is signed


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("told", "result"),
    [
        ('{"a": [1.5, {"b": null}]}', {"a": [1.5, {"b": None}]}),
        ("[1, 2]", "[1, 2]"),
        ("007", "007"),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": {"$ref": "#/x"}}', '{"a": {"$ref": "#/x"}}'),
        ('{"a": ' + "[" * 60 + "]" * 60 + "}", '{"a": ' + "[" * 60 + "]" * 60 + "}"),
    ],
)
async def test_only_an_object_that_gemini_can_carry_unchanged_goes_as_an_object(told: str, result: Any) -> None:
    wire = Wire(says("hi"))
    asked = Message("assistant", "", tool_calls=[ToolCall("c", "weather", "{}")])
    await complete(wire, messages=(Message("user", "?"), asked, Message("tool", told, tool_call_id="c")))
    assert wire.sent["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": result}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "signature"), [("gemini-3.8-flash", "skip_thought_signature_validator"), ("gemini-2.5-flash", None)]
)
async def test_calls_of_another_vendor_are_told_as_gemini_takes_them(model: str, signature: str | None) -> None:
    wire = Wire(says("hi"))
    calls = [ToolCall("toolu_1", "weather", '{"city":"Rome"}'), ToolCall("toolu_2", "weather", '{"city":')]
    messages = (
        Message("user", "Weather?"),
        Message("assistant", "", tool_calls=calls, vendor={"anthropic": {"thinking": "..."}, "gemini": {"parts": [1]}}),
        Message("tool", '{"t": 3}', tool_call_id="toolu_1"),
        Message("tool", "", tool_call_id="toolu_2"),
    )
    await complete(wire, model=model, messages=messages, tools=(WEATHER,))
    first, second = wire.sent["contents"][1]["parts"]
    assert first.pop("thoughtSignature", None) == signature
    assert first == {"functionCall": {"id": "toolu_1", "name": "weather", "args": {"city": "Rome"}}}
    assert second == {"functionCall": {"id": "toolu_2", "name": "weather", "args": {"arguments": '{"city":'}}}
    assert [part["functionResponse"] for part in wire.sent["contents"][2]["parts"]] == [
        {"id": "toolu_1", "name": "weather", "response": {"result": {"t": 3}}},
        {"id": "toolu_2", "name": "weather", "response": {"result": ""}},
    ]


@pytest.mark.anyio
async def test_parts_kept_for_other_calls_are_not_given_back() -> None:
    wire = Wire(says("hi"))
    kept = {"gemini": {"parts": [called("search", thoughtSignature=SIGNATURE)]}}
    told = Message("assistant", "", tool_calls=[ToolCall("c", "weather", "{}")], vendor=kept)
    await complete(wire, messages=(Message("user", "?"), told, Message("tool", "x", tool_call_id="c")))
    assert wire.sent["contents"][1]["parts"][0]["functionCall"]["name"] == "weather"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "schema", "is_declared"),
    [("gemini-2.5-pro", None, True), ("gemini-2.5-pro", FACTS, False), ("gemini-3.8-flash", FACTS, True)],
)
async def test_the_last_request_forbids_the_tools_that_were_used(model: str, schema: Any, is_declared: bool) -> None:
    wire = Wire(says("hi"))
    told = Message("assistant", "", tool_calls=[ToolCall("c", "weather", "{}")])
    messages = (Message("user", "?"), told, Message("tool", "x", tool_call_id="c"))
    await complete(wire, model=model, messages=messages, output_schema=schema)
    if is_declared:
        declared = [{"name": "weather", "description": "Not available any more."}]
        assert wire.sent["tools"] == [{"functionDeclarations": declared}]
        assert wire.sent["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}
    else:
        assert "tools" not in wire.sent


@pytest.mark.anyio
async def test_a_whole_answer_has_its_usage_model_and_own_words() -> None:
    usage = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 10,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 147,
    }
    answer = await complete(Wire(says("hi", responseId="r-1", usageMetadata=usage)))
    assert answer == ProviderResponse(
        "hi",
        usage=Usage(110, 37, cached_tokens=60, reasoning_tokens=30, requests=1),
        model="gemini-3.8-flash-001",
        raw={"finish_reason": "STOP", "id": "r-1"},
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5, 0, requests=1)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 9}, Usage(5, 9, reasoning_tokens=9, requests=1)),
        ({"promptTokenCount": 5}, None),
        ({"promptTokenCount": 5, "candidatesTokenCount": -1, "totalTokenCount": 4}, None),
        ({"promptTokenCount": "5", "candidatesTokenCount": 1}, None),
        ({"promptTokenCount": 5, "candidatesTokenCount": 1, "cachedContentTokenCount": 6}, Usage(5, 1, requests=1)),
        (None, None),
    ],
)
async def test_usage_that_cannot_be_believed_is_none(usage: Any, expected: Usage | None) -> None:
    assert (await complete(Wire(says("hi", usageMetadata=usage)))).usage == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("finish", "expected"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("CONTINUATION", "length"), ("OTHER", "other"), ("NEW_WORD", "other")],
)
async def test_finish_reasons_are_mapped_and_kept(finish: str, expected: str) -> None:
    answer = await complete(Wire(says("hi", finish=finish)))
    assert answer.finish_reason == expected
    assert answer.raw["finish_reason"] == finish


@pytest.mark.anyio
async def test_an_answer_that_is_all_thought_is_no_error() -> None:
    answer = await complete(Wire({"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": TOLD}))
    assert (answer.text, answer.finish_reason) == ("", "length")


@pytest.mark.anyio
@pytest.mark.parametrize("finish", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "LANGUAGE"])
async def test_a_withheld_answer_is_a_refusal_with_what_was_said(finish: str) -> None:
    answer = says("Well, fir", finish=finish)
    answer["candidates"][0]["safetyRatings"] = [
        {"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "LOW"},
    ]
    error = await failure(answer)
    assert isinstance(error, ContentRefused)
    assert error.text == "Well, fir"
    assert f"({finish}, harassment)" in error.message


@pytest.mark.anyio
async def test_a_blocked_prompt_is_a_refusal() -> None:
    error = await failure({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": TOLD})
    assert isinstance(error, ContentRefused)
    assert "refused the prompt (PROHIBITED_CONTENT)" in error.message


@pytest.mark.anyio
async def test_a_call_gemini_cannot_read_is_a_bad_answer_unless_another_is_good() -> None:
    answer = says(finish="MALFORMED_FUNCTION_CALL")
    answer["candidates"][0]["finishMessage"] = "Malformed function call: print(weather("
    error = await failure(answer)
    assert isinstance(error, BadAnswer)
    assert "print(weather(" in error.message
    kept = await complete(Wire(says(called("weather"), finish="MALFORMED_FUNCTION_CALL")))
    assert kept.finish_reason == "tool_calls"


@pytest.mark.anyio
@pytest.mark.parametrize("body", [{}, {"candidates": []}, [], "text", {"candidates": "x"}, {"usageMetadata": TOLD}])
async def test_what_holds_no_candidate_is_a_bad_answer(body: Any) -> None:
    assert isinstance(await failure(body), BadAnswer)


@pytest.mark.anyio
async def test_a_list_of_answers_is_read_as_the_stream_it_is() -> None:
    pieces: list[str] = []
    answer = await complete(Wire([says("one ", finish=None), says("two")]), watch=pieces.append)
    assert answer.text == "one two"
    assert "".join(pieces) == "one two"


def error_body(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


QUOTA = "You exceeded your current quota, please check your plan and billing details."
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}


def violated(quota: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


@pytest.mark.anyio
@pytest.mark.parametrize("is_list", [False, True])
async def test_a_limit_by_the_minute_is_waited_for_although_it_speaks_of_billing(is_list: bool) -> None:
    body = error_body(429, "RESOURCE_EXHAUSTED", QUOTA, violated("GenerateRequestsPerMinutePerProject"), RETRY)
    error = await failure([body] if is_list else body, 429)
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.spend_limit, error.status) == (17.5, False, 429)


@pytest.mark.anyio
async def test_a_limit_by_the_day_is_not_waited_for() -> None:
    error = await failure(error_body(429, "RESOURCE_EXHAUSTED", QUOTA, violated("GenerateRequestsPerDay"), RETRY), 429)
    assert isinstance(error, RateLimited)
    assert error.spend_limit
    none_at_all = await failure(error_body(429, "RESOURCE_EXHAUSTED", f"{QUOTA} Quota exceeded, limit: 0"), 429)
    assert isinstance(none_at_all, RateLimited)
    assert none_at_all.spend_limit


@pytest.mark.anyio
async def test_the_header_says_how_long_to_wait_before_the_body_does() -> None:
    answer = httpx.Response(
        503, json=error_body(503, "UNAVAILABLE", "Overloaded.", RETRY), headers={"retry-after": "3"}
    )
    assert (await failure(answer)).retry_after == 3
    error = await failure([error_body(503, "UNAVAILABLE", "Overloaded.", RETRY)], 503)
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == 17.5
    assert "Overloaded." in error.message


@pytest.mark.anyio
async def test_a_bad_key_comes_as_400_and_is_never_shown() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = await failure(error_body(400, "INVALID_ARGUMENT", f"API key not valid: {KEY}", detail), 400)
    assert isinstance(error, AuthenticationFailed)
    assert KEY not in error.message
    assert "GEMINI_API_KEY" in error.message
    assert error.status == 400


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", ContextTooLong),
        (400, "Penalty is not enabled for this model", BadRequest),
        (401, "Request had invalid authentication credentials.", AuthenticationFailed),
        (403, "Permission denied.", AuthenticationFailed),
        (500, "Internal error encountered.", ProviderUnavailable),
        (504, "Deadline expired.", ProviderUnavailable),
    ],
)
async def test_other_errors_have_the_class_of_their_status(
    status: int, message: str, expected: type[ProviderError]
) -> None:
    error = await failure([error_body(status, "WORD", message)], status)
    assert type(error) is expected
    assert message in error.message


@pytest.mark.anyio
async def test_an_error_under_status_200_is_an_error() -> None:
    error = await failure(error_body(429, "RESOURCE_EXHAUSTED", QUOTA, RETRY))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 17.5
    assert isinstance(await failure([error_body(503, "UNAVAILABLE", "Overloaded.")]), ProviderUnavailable)


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"error": {"details": 5}}', b"\xff", b"[{}]", b'{"error": NaN}'])
async def test_an_error_in_another_form_is_one_of_ours(body: bytes) -> None:
    assert isinstance(await failure(httpx.Response(502, content=body)), ProviderUnavailable)


@pytest.mark.anyio
async def test_models_are_those_that_answer_by_their_bare_names() -> None:
    listed = {
        "models": [
            {"name": "models/gemini-3.8-flash", "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
            {"name": "models/bare"},
            {"name": 5},
        ]
    }
    wire = Wire(listed)
    assert await Gemini(api_key=KEY, transport=wire.transport).models() == ["bare", "gemini-3.8-flash"]
    assert wire.requests[-1].url.raw_path == b"/v1beta/models?pageSize=1000"
    with pytest.raises(BadAnswer):
        await Gemini(api_key=KEY, transport=Wire({"data": []}).transport).models()


@pytest.mark.anyio
async def test_an_unknown_model_names_those_that_are_like_it() -> None:
    missing = httpx.Response(404, json=error_body(404, "NOT_FOUND", "models/gemini-3.8-flsh is not found"))
    wire = Wire(missing, {"models": [{"name": "models/gemini-3.8-flash"}]})
    with pytest.raises(BadRequest, match=r"similar name: 'gemini-3\.8-flash'"):
        await complete(wire, model="gemini-3.8-flsh")


class Stored:
    """Credentials that hold one key."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, name: str) -> Secret:
        if name != self._name:
            raise MissingCredential(f"{name} is not set")
        return Secret("stored-canary-77")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
async def test_a_stored_key_is_found_under_both_names_google_uses(name: str) -> None:
    wire = Wire(says("hi"))
    provider = Gemini(transport=wire.transport)
    assert provider.missing_credential() == "GEMINI_API_KEY"
    provider.use_credentials(Stored(name))
    assert provider.missing_credential() is None
    await provider.complete(ProviderRequest("gemini-3.8-flash", HELLO))
    assert wire.requests[-1].headers["x-goog-api-key"] == "stored-canary-77"


@pytest.mark.anyio
async def test_a_stored_key_is_not_sent_to_another_host() -> None:
    wire = Wire(says("hi"))
    provider = Gemini(base_url="http://127.0.0.1:9", transport=wire.transport)
    provider.use_credentials(Stored("GOOGLE_API_KEY"))
    await provider.complete(ProviderRequest("gemini-3.8-flash", HELLO))
    assert "x-goog-api-key" not in wire.requests[-1].headers


def test_what_a_model_takes_is_told_from_its_name() -> None:
    known = Gemini(api_key=KEY).capabilities
    assert known("gemini-2.5-pro").schema_with_tools is False
    assert known("models/gemini-3-pro-preview").schema_with_tools is True
    assert known("gemini-3-pro-preview").unsupported == {"presence_penalty", "frequency_penalty"}
    assert "temperature" in known("gemini-3.8-flash").unsupported
    assert "temperature" in known("gemini-4-argon").unsupported
    assert known("gemini-2.0-flash").unsupported == frozenset()
    assert (known("gemini-1.5-pro-002").context_tokens, known("gemini-1.5-pro-002").max_output_tokens) == (
        2_097_152,
        8192,
    )
    assert known("gemini-3.1-flash-image").tools is False
    assert known("gemini-3.1-flash-image").images is True
    assert known("gemini-3.8-flash-tts").images is False
    assert known("somebody-elses").context_tokens is None
