"""A secret never shows itself, and what takes secrets out of texts finds them in every form."""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch import _redact
from llmorch.errors import ValueRefused
from llmorch.models.secret import Secret
from llmorch.models.values import to_data

KEY = "canary-secret-2b7d"


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_redact, "_known", _redact._Known())


@dataclasses.dataclass
class Settings:
    key: Secret


class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
    key: Secret


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        format,
        ascii,
        pprint.pformat,
        lambda secret: f"{secret!r:>40} {secret:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031  # one of the ways to print
        lambda secret: "{} {0:x}".replace("{}", "{0}").format(secret),
        lambda secret: repr([{"key": (secret,)}]),
        lambda secret: repr(Settings(secret)),
        lambda secret: repr(dataclasses.asdict(Settings(secret))),
        lambda secret: repr(copy.deepcopy({"key": secret})),
        lambda secret: repr(Model(key=secret)),
        lambda secret: repr(Model(key=secret).model_dump()),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: logging.LogRecord("x", 10, "", 1, "%s %r", (secret, secret), None).getMessage(),
        lambda secret: repr(dir(secret)),
    ],
)
def test_no_way_to_print_a_secret_shows_it(shown: Callable[[Secret], str]) -> None:
    secret = Secret(KEY)
    assert KEY not in shown(secret)
    assert secret.reveal() == KEY


@pytest.mark.parametrize(
    "taken",
    [
        pickle.dumps,
        json.dumps,
        vars,
        bytes,
        iter,
        to_data,
        lambda secret: secret.__getstate__(),
        lambda secret: secret.__reduce_ex__(4),
        lambda secret: secret + "",
        lambda secret: "".join([secret]),
        lambda secret: Model(key=secret).model_dump_json(),
        lambda secret: to_data({"key": [secret]}),
    ],
)
def test_no_way_to_take_a_secret_apart_gives_it(taken: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, ValueRefused, pydantic.ValidationError, ValueError)) as caught:
        taken(Secret(KEY))
    assert KEY not in "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)


def test_a_copy_of_a_secret_is_the_secret() -> None:
    secret = Secret(KEY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_secrets_are_equal_by_what_they_hold() -> None:
    assert Secret(KEY) == Secret(KEY, hosts=("x.test",))
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != Secret("another")
    assert Secret(KEY) != KEY


@pytest.mark.parametrize("value", [KEY.encode(), None, Secret(KEY), 12])
def test_a_secret_holds_text_only(value: Any) -> None:
    with pytest.raises(TypeError, match="a Secret holds text") as caught:
        Secret(value)
    assert KEY not in str(caught.value)


def test_hosts_are_names_in_lower_case() -> None:
    assert Secret("x", hosts=("LLM.Example.com", "[::1]", "10.0.0.7")).hosts == ("llm.example.com", "::1", "10.0.0.7")
    assert Secret("x", hosts="llm.example.com").hosts == ("llm.example.com",)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "https://x.test",
        "x.test:8000",
        "x.test/v1",
        "u@x.test",
        "*.x.test",
        "x test",
        "x.test\n",
        "x.test?a",
        "a%2eb",
    ],
)
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="without scheme or port"):
        Secret("x", hosts=(host,))


def test_hosts_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Secret("x").hosts = ("evil.test",)  # type: ignore[misc]  # what is tested


# Texts without secrets

ODD = "canary+Qz/7f=91%2Bk~e5b0&w'9"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL": lambda text: quote(text, safe=""),
    "URL, partly": quote,
    "URL, lower case": lambda text: quote(text, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON, ASCII": lambda text: (
        json.dumps(text).replace("+", "\\u002b").replace("'", "\\u0027").replace("&", "\\u0026")
    ),
    "JSON twice": lambda text: json.dumps(json.dumps(text).replace("/", "\\/")),
    "HTML": html.escape,
    "HTML numbers": lambda text: text.replace("&", "&#38;").replace("+", "&#x2B;").replace("'", "&#039;"),
    "repr": lambda text: repr(text.encode()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, from the second": lambda text: base64.b64encode(f"a{text} b".encode()).decode(),
    "base64, from the third": lambda text: base64.b64encode(f"ab{text}; c".encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(f":{text}".encode()).decode(),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "base64 in JSON": lambda text: base64.b64encode(f"k={text}".encode()).decode().replace("/", "\\/"),
}


@pytest.mark.parametrize("form", ENCODINGS)
@pytest.mark.parametrize("key", [KEY, ODD, "canary>>>???~~~ooo", "Zm9vYmFy/canary+/=="])
def test_a_secret_is_found_in_every_form(key: str, form: str) -> None:
    said = ENCODINGS[form](key)
    assert said in _redact.redact(f"it said {said}, twice: {said}")
    _redact.register(key)
    masked = _redact.redact(f"it said {said}, twice: {said}")
    assert masked.startswith("it said ")
    assert masked.count("[redacted]") == 2
    assert len(masked) < 70, "what is left of a form is no more than its ends"


@given(st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=8, max_size=80), st.data())
def test_any_printable_key_is_found_in_every_form(key: str, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from([*ENCODINGS]))
    known, _redact._known = _redact._known, _redact._Known()
    try:
        _redact.register(key)
        masked = _redact.redact(f"[ {ENCODINGS[form](key)} ]")
    finally:
        _redact._known = known
    assert "[redacted]" in masked or key.lower() in _redact._PLACEHOLDERS
    assert key not in masked.replace("[redacted]", "")


@pytest.mark.parametrize("encode", [str, ENCODINGS["base64"]])
def test_a_secret_that_was_cut_is_found_at_the_end(encode: Callable[[str], str]) -> None:
    key = "canary-0123456789abcdefghij"
    _redact.register(key)
    said = encode(key)
    for end in range(6, len(said)):
        assert _redact.redact(f"it said {said[:end]}").startswith("it said [redacted]")
    assert _redact.redact("it said canar") == "it said canar"
    assert _redact.redact("canary islands") == "canary islands"


def test_a_secret_that_begins_another_leaves_nothing_of_it() -> None:
    for key in (KEY, f"{KEY}-and-more", f"more-{KEY}"):
        _redact.register(key)
    assert _redact.redact(f"<{KEY}-and-more> <more-{KEY}> <{KEY}>") == "<[redacted]> <[redacted]> <[redacted]>"


def test_tokens_of_single_calls_are_forgotten_and_keys_are_not() -> None:
    _redact.register(KEY)
    for number in range(1000):
        _redact.register(f"token-{number:04}", passing=True)
    _redact.register(KEY, passing=True)
    assert _redact.redact(f"{KEY} token-0000 token-0999") == "[redacted] token-0000 [redacted]"
    assert len(_redact._known.passing) <= 200


@pytest.mark.parametrize("word", ["", "abc", "none", "EMPTY", "ollama", "lm-studio"])
def test_what_is_no_secret_stays_in_texts(word: str) -> None:
    _redact.register(word)
    assert _redact.redact(f"the word {word} is said") == f"the word {word} is said"


LOOK_LIKE_KEYS = (
    "sk-abcdefgh12345678", "sk-ant-api03-abcdefgh", "sk-proj-abcdefgh1234", "sk-or-v1-abcdef0123", "sk-abc*****wxyz",
    "xai-abcdefgh1234", "gsk_abcdefgh1234", "AIzaSyA-1234567890",
)  # fmt: skip


@pytest.mark.parametrize("key", LOOK_LIKE_KEYS)
def test_what_looks_like_a_key_is_masked_though_nobody_registered_it(key: str) -> None:
    assert _redact.redact(f"Incorrect API key provided: {key}.") == "Incorrect API key provided: [redacted]."


@pytest.mark.parametrize(
    "text",
    [
        "a risk-assessment of the task-specific disk-encryption",
        "Bearer authentication is required",
        "sk- and xai and AIza",
        "ask-me",
    ],
)
def test_words_that_only_look_a_little_like_a_key_stay(text: str) -> None:
    assert _redact.redact(text) == text


def test_a_bearer_token_is_masked_though_nobody_registered_it() -> None:
    assert _redact.redact("authorization: Bearer abcdef123456==, x") == "authorization: Bearer [redacted], x"
