"""Blocks, payloads, messages and policies as values: frozen, closed, equal by content, the same everywhere."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

from llmorch import (
    Block,
    Budget,
    Default,
    File,
    Image,
    Limit,
    Message,
    Payload,
    Retry,
    TemplateError,
    Text,
    Usage,
    ValueRefused,
)
from llmorch.models.message import ToolCall
from llmorch.models.settings import Settings


class Facts(BaseModel):
    title: str


VALUES: list[Any] = [
    Block("b", "Hello {{ who }}"),
    Block(
        "b",
        "x {{ a }}",
        role="system",
        tags=["t", "u"],
        folder="f/g",
        defaults={"a": {"deep": [1, {"x": None}]}},
        description="d",
    ),
    Message("user", "hi"),
    Message(
        "user",
        [
            Text("hi"),
            Image("data:image/png;base64,AA"),
            File("https://x/y.pdf", media_type="application/pdf", name="y"),
        ],
    ),
    Message("user", [File("https://x/y.pdf", media_type="application/pdf")]),
    Message("user", []),
    Message("assistant", "", tool_calls=[ToolCall("1", "add", "{}")]),
    Message("tool", "3", tool_call_id="1"),
    Text("t"),
    Settings(temperature=0, stop=("a",)),
    Payload("p", "text"),
    Payload(
        "p",
        Block("s", "S", role="system"),
        "U",
        model="a:b",
        temperature=0,
        max_tokens=5,
        top_p=0.5,
        stop=["x"],
        seed=1,
        presence_penalty=-1,
        frequency_penalty=2,
        extra={"a": {"b": [1, 2, {"c": 3}]}},
        history=[Message("user", "h")],
        output_retries=3,
        fallback=["c:d"],
        retry=Retry(2),
        timeout=timedelta(seconds=5),
        description="d",
        tags=["t"],
    ),
    Payload("p", "x", output=Facts),
    Payload("p", "x", output=Literal["a", "b"]),
    Payload("p", "x", output=list[int] | None),
    Payload("p", "x", output={"type": "object", "properties": {"a": {"type": "string"}}}),
    Retry(),
    Retry(2, 0.1, cap=3, max_wait=9),
    Limit(requests_per_minute=5, concurrency=2),
    Budget(usd=5, tokens=10, calls=3, unpriced="ignore"),
    Default(None),
    Default([1, {"a": [2]}]),
    Default({"a": 1}),
]
EACH = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


@EACH
def test_a_value_validated_from_its_dump_is_equal(value: Any) -> None:
    again = type(value).model_validate(value.model_dump())
    assert again == value
    assert hash(again) == hash(value)
    assert again.model_dump() == value.model_dump()


@EACH
def test_a_value_survives_json_where_json_can_hold_it(value: Any) -> None:
    if isinstance(value, Payload) and not (value.output is str or isinstance(value.output, dict)):
        pytest.skip("a Python type is no JSON")
    if isinstance(value, Payload) and value.output is str:
        text = value.model_dump_json(exclude={"output"})
    else:
        text = value.model_dump_json()
    again = type(value).model_validate_json(text)
    assert again == value
    assert hash(again) == hash(value)


@EACH
def test_a_value_survives_copying_and_pickling(value: Any) -> None:
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value)), value.model_copy()):
        assert again == value
        assert hash(again) == hash(value)


@EACH
def test_a_value_is_frozen_and_closed(value: Any) -> None:
    name = next(iter(type(value).model_fields))
    with pytest.raises(ValidationError):
        setattr(value, name, getattr(value, name))
    with pytest.raises((ValidationError, AttributeError)):
        value.surprise = 1
    with pytest.raises(ValidationError):
        type(value).model_validate({**value.model_dump(), "surprise": 1})


@EACH
def test_using_a_value_does_not_change_what_it_is_equal_to(value: Any) -> None:
    fresh = copy.deepcopy(value)
    for name in ("variables", "settings", "fingerprint", "template", "timeout_s"):
        getattr(value, name, None)  # cached on first use
    assert value == fresh
    assert hash(value) == hash(fresh)
    assert value.model_dump() == fresh.model_dump()


@pytest.mark.parametrize(
    "change",
    [
        lambda: Block("b", "x {{ a }}", defaults={"a": {"b": 1}}).defaults["a"].update(b=2),
        lambda: Block("b", "x", defaults={"a": 1}).defaults.update(a=2),
        lambda: Payload("p", "x", extra={"a": {"b": 1}}).extra["a"].__setitem__("b", 2),
        lambda: Payload("p", "x", output={"type": "object"}).output.__setitem__("type", "array"),
        lambda: Default({"a": 1}).value.__setitem__("a", 2),
    ],
)
def test_mappings_inside_are_frozen(change: Any) -> None:
    with pytest.raises(TypeError):
        change()


def test_a_value_shares_nothing_with_what_it_was_made_of() -> None:
    given: dict[str, Any] = {"a": {"b": [1]}}
    values = [Block("b", "x", defaults=given), Payload("p", "x", extra=given), Default(given)]
    before = [hash(value) for value in values]
    given["a"]["b"].append(2)
    assert [hash(value) for value in values] == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Block("", "x"),
        lambda: Block("b", 3),
        lambda: Block("b", "x", role="robot"),
        lambda: Block(3, "x"),
        lambda: Block("b", "x", tags="notes"),
        lambda: Block("b", "x", surprise=1),
        lambda: Payload("p", "x", temperature="0.5"),
        lambda: Payload("p", "x", max_tokens=1.5),
        lambda: Payload("p", "x", max_tokens=True),
        lambda: Payload("p", "x", max_tokens=0),
        lambda: Payload("p", "x", temperature=-1),
        lambda: Payload("p", "x", temperature=float("nan")),
        lambda: Payload("p", "x", top_p=2),
        lambda: Payload("p", "x", stop="END"),
        lambda: Payload("p", "x", fallback="a:b"),
        lambda: Payload("p", "x", timeout=0),
        lambda: Payload("p", "x", timeout=-1),
        lambda: Payload("p", "x", timeout=float("nan")),
        lambda: Payload("p", "x", output=3),
        lambda: Payload("p", "x", extra={"a": float("nan")}),
        lambda: Payload("p", "x", extra={"a": b"x"}),
        lambda: Payload("p", "x", surprise=1),
        lambda: Payload("p", 3),
        lambda: Payload("", "x"),
        lambda: Payload("p", "x", history=["hi"]),
        lambda: Message("robot", "x"),
        lambda: Message("user", 3),
        lambda: Message("user", ["text"]),
        lambda: Retry(0),
        lambda: Retry(attempts=1.5),
        lambda: Retry(base=-1),
        lambda: Limit(concurrency=0),
        lambda: Budget(usd=-1),
        lambda: Budget(unpriced="maybe"),
        lambda: Default(float("nan")),
        lambda: Default(object()),
    ],
)
def test_what_is_wrong_is_refused_when_it_is_made(make: Any) -> None:
    with pytest.raises((ValidationError, TypeError, ValueRefused)):
        make()


def test_a_template_that_does_not_parse_is_refused_with_its_line() -> None:
    with pytest.raises(TemplateError, match="Block 'b': line 2") as caught:
        Block("b", "fine\n{{ oops")
    assert caught.value.line == 2
    with pytest.raises(TemplateError, match="line 3"):
        Payload("p", "one\ntwo\n{% if %}")


@pytest.mark.parametrize(
    "make",
    [
        lambda seconds: Payload("p", "x", timeout=seconds).timeout_s,
        lambda seconds: Retry(base=seconds).base,
        lambda seconds: Retry(cap=seconds).cap,
        lambda seconds: Retry(max_wait=seconds).max_wait,
    ],
    ids=["timeout", "base", "cap", "max_wait"],
)
def test_seconds_are_a_float_or_a_timedelta(make: Any) -> None:
    def amount(value: Any) -> float:
        return value.total_seconds() if isinstance(value, timedelta) else value

    assert amount(make(2)) == amount(make(2.0)) == amount(make(timedelta(seconds=2))) == 2


# Payload


def test_temperature_zero_is_set_and_none_is_unset() -> None:
    assert Payload("p", "x", temperature=0).settings.given() == {"temperature": 0}
    assert Payload("p", "x", temperature=None).settings.given() == {}
    assert Payload("p", "x", temperature=None) == Payload("p", "x")


FULL = Payload(
    "p",
    "one {{ a }}",
    model="a:b",
    temperature=0.5,
    max_tokens=5,
    stop=["x"],
    extra={"k": 1},
    output=Facts,
    history=[Message("user", "h")],
    fallback=["c:d"],
    retry=Retry(2),
    timeout=5,
    description="d",
    tags=["t"],
    output_retries=3,
)


def test_using_keeps_what_is_left_out() -> None:
    other = FULL.using(temperature=0)
    assert other.temperature == 0
    assert FULL.temperature == 0.5
    for name in type(FULL).model_fields:
        if name != "temperature":
            assert getattr(other, name) == getattr(FULL, name)
    assert FULL.using() == FULL
    assert FULL.using().output is Facts


@pytest.mark.parametrize(
    ("name", "unset"),
    [
        ("model", None),
        ("temperature", None),
        ("max_tokens", None),
        ("stop", ()),
        ("extra", {}),
        ("output", str),
        ("history", ()),
        ("fallback", ()),
        ("retry", None),
        ("timeout", None),
        ("description", ""),
        ("tags", ()),
        ("output_retries", 1),
    ],
)
def test_using_none_unsets(name: str, unset: Any) -> None:
    assert getattr(FULL.using(**{name: None}), name) == unset  # type: ignore[misc]


def test_using_changes_blocks_and_name() -> None:
    other = FULL.using(name="q", blocks=["two {{ b }}", Block("s", "S", role="system")])
    assert other.name == "q"
    assert other.variables == {"b"}
    assert FULL.variables == {"a"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"temprature": 1},
        {"max_tokens": "5"},
        {"blocks": "text"},
        {"tools": "search"},
        {"tools": [3]},
        {"temperature": -1},
    ],
)
def test_using_refuses_what_the_constructor_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValidationError, ValueError)):
        FULL.using(**wrong)  # type: ignore[misc]


def roles(payload: Payload[Any], **values: Any) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in payload.render(**values)]


def test_adjacent_blocks_of_a_role_are_joined_by_a_blank_line() -> None:
    payload = Payload("p", Block("a", "A", role="system"), Block("b", "B", role="system"), "C", "D {{ x }}")
    assert roles(payload, x=1) == [("system", "A\n\nB"), ("user", "C\n\nD 1")]


def test_few_shot_pairs_stay_apart_and_in_order() -> None:
    payload = Payload(
        "p",
        "q1",
        Block("a1", "a1", role="assistant"),
        "q2",
        Block("a2", "a2", role="assistant"),
        "q3",
        Block("s", "late system", role="system"),
        "q4",
    )
    assert [text for _, text in roles(payload)] == ["q1", "a1", "q2", "a2", "q3", "late system", "q4"]


def test_history_stands_before_the_last_message() -> None:
    history = [Message("user", "h1"), Message("assistant", "h2")]
    payload = Payload(
        "p", Block("s", "S", role="system"), "q1", Block("a", "a1", role="assistant"), "now", history=history
    )
    assert [text for _, text in roles(payload)] == ["S", "q1", "a1", "h1", "h2", "now"]
    assert [text for _, text in roles(Payload("p", "now", history=history))] == ["h1", "h2", "now"]


def test_render_gives_messages_and_names_what_is_missing() -> None:
    payload = Payload("p", Block("hello", "Hello {{ who }} {{ x }}", defaults={"x": "!"}))
    assert payload.render(who="Ada") == [Message("user", "Hello Ada !")]
    assert payload.render(who="Ada", x="?") == [Message("user", "Hello Ada ?")]
    assert payload.variables == {"who", "x"}
    with pytest.raises(TemplateError, match="'who'"):
        payload.render()
    with pytest.raises(TemplateError, match="'hello'"):
        Block("hello", "{{ who }}").render()


def test_what_is_no_text_renders_as_json() -> None:
    block = Block("b", "{{ v }}")
    for value, text in [
        ({"b": 1, "a": ["ä", None, True]}, '{"b": 1, "a": ["ä", null, true]}'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ([], "[]"),
        ("text\n", "text\n"),
        (Facts(title="t"), '{"title": "t"}'),
        (10**30, str(10**30)),
    ]:
        assert block.render(v=value) == text


def test_a_value_is_never_read_as_a_template() -> None:
    assert Block("b", "{{ v }}").render(v="{{ 7*7 }}{% for %}") == "{{ 7*7 }}{% for %}"


def test_block_defaults_of_one_block_do_not_reach_another() -> None:
    payload = Payload("p", Block("a", "{{ x }}", defaults={"x": 1}), Block("b", "{{ x }}"))
    assert payload.defaults == frozenset()  # one of them needs it
    assert roles(payload, x=2) == [("user", "2\n\n2")]


# Files


def test_a_block_from_a_file_with_front_matter(tmp_path: Path) -> None:
    file = tmp_path / "voice.md"
    file.write_text(
        "---\nrole: system\ntags: [a, b]\ndefaults:\n  x: 1\nfolder: F/G\n---\nBe {{ style }} {{ x }}\n---\nend\n",
        "utf-8",
    )
    block = Block.from_file(file)
    assert block == Block(
        "voice", "Be {{ style }} {{ x }}\n---\nend\n", role="system", tags=("a", "b"), defaults={"x": 1}, folder="F/G"
    )
    assert Block.from_file(str(file)) == block


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain {{ x }}\n", "plain {{ x }}\n"),
        ("", ""),
        ("---\n---\ntext", "text"),
        ("text\n---\nname: x\n---\n", "text\n---\nname: x\n---\n"),
        ("\ufeff---\nrole: user\n---\ntext", "text"),
        ("---\r\nrole: user\r\n---\r\ntext\r\n", "text\n"),
        ("--- \nrole: user\n---\t\ntext", "text"),
        ("----\nno fence\n", "----\nno fence\n"),
    ],
)
def test_front_matter_is_optional(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_bytes(text.encode("utf-8"))
    assert Block.from_file(file).text == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\nrole: system\ntext", "never closed"),
        ("---\n- a\n---\nx", "fields"),
        ("---\nroll: system\n---\nx", "roll"),
        ("---\ntext: y\n---\nx", "text"),
        ("---\nrole: robot\n---\nx", "role"),
        ("---\nrole: [\n---\nx", "b.txt"),
        ("---\nrole: user\nrole: system\n---\nx", "role"),
    ],
)
def test_front_matter_that_is_wrong_says_where(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "b.txt"
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        Block.from_file(file)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Block.from_file(tmp_path / "none.md")


# Fingerprints


GOLDEN = """
import json
from llmorch import Block, Node, Orchestrator, Payload, Workflow, step
from llmorch.testing import ScriptedProvider

@step(version="1")
def join(a, b): return [a, b]

one = Block("b", "Hello {{ who }}", role="system", tags=["x"], defaults={"who": {"z": 1, "a": [1, 2]}})
two = Block("other name", "Hello {{ who }}", role="system", defaults={"who": {"a": [1, 2], "z": 1}}, folder="f")
wf = Workflow("w")
wf.add(Payload("p", one, "Say {{ x }}", temperature=0, extra={"b": 1, "a": 2}))
wf.add(join, a={"set": [3, 1], "k": "v"}, b={"y": 1, "x": 2})
inner = Workflow("inner"); inner.input("n", int, default=1); inner.add(join, name="j", a=1, b=2)
wf.add(inner)
wf.returns([Node("p"), Node("join"), Node("inner")])
run = Orchestrator(providers=[ScriptedProvider({"p": "P"})], model="scripted:m").run_sync(wf, x="y")
print(json.dumps([one.fingerprint, two.fingerprint, *(run.steps[s].fingerprint for s in ("p", "join", "inner"))]))
"""


def test_fingerprints_are_the_same_in_every_process() -> None:
    seen = set()
    for seed in ("0", "1", "4242"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": "src", "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", GOLDEN],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parents[3],
        )
        assert done.returncode == 0, done.stderr
        seen.add(done.stdout)
    (line,) = seen
    prints = json.loads(line)
    assert all(len(one) == 64 and int(one, 16) for one in prints)
    assert prints[0] == prints[1]  # name, tags and folder say nothing to the model
    assert len(set(prints)) == 4
    # Golden: a change here makes every recorded result unknown to caches and forks; say so in the changelog.
    assert [one[:16] for one in prints] == [
        "b2b20e1aad6b617b",
        "b2b20e1aad6b617b",
        "c08148e6f3486013",
        "3519117c43d18328",
        "ddd7d5bfe29fb061",
    ]


def test_a_blocks_fingerprint_is_what_it_says() -> None:
    base = Block("b", "text {{ x }}", defaults={"x": 1})
    assert base.fingerprint == Block("c", "text {{ x }}", defaults={"x": 1}, tags=["t"]).fingerprint
    for other in (
        Block("b", "text  {{ x }}", defaults={"x": 1}),
        Block("b", "text {{ x }}"),
        Block("b", "text {{ x }}", role="system", defaults={"x": 1}),
    ):
        assert other.fingerprint != base.fingerprint


# Usage


def test_usage_adds_and_is_a_value() -> None:
    total = Usage(1, 2, 3, 4, 5, 6) + Usage(10, 20, 30, 40, 50, 60)
    assert total == Usage(11, 22, 33, 44, 55, 66)
    assert hash(total) == hash(Usage(11, 22, 33, 44, 55, 66))
    assert sum([Usage(requests=1)] * 3, Usage()) == Usage(requests=3)
    with pytest.raises(TypeError):
        Usage() + 1  # type: ignore[operator]
    with pytest.raises(AttributeError):
        total.input_tokens = 1  # type: ignore[misc]
