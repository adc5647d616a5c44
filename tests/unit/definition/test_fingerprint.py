"""Fingerprints: equal wherever they are made, different when anything that matters is."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmorch.definition.fingerprint import code_of, function_fingerprint, payload_fingerprint, workflow_fingerprint
from llmorch.definition.functions import function_action, step
from llmorch.models.message import Message, Text, ToolCall
from llmorch.models.settings import Settings
from llmorch.requests import ToolSpec
from llmorch.workflow import Workflow
from tests.unit.definition.fingerprints import MESSAGES, adding, count, fingerprints, payload_call

ROOT = Path(__file__).parents[3]

# Written down once; a change here makes every recorded run and cache of every user stale.
GOLDEN = {
    "payload": "6a9fe06ab4fa7d7147deccf1dbb49222117cc19899fda5630fbee678e6314e68",
    "plain": "fadc1909d833c2d07a6883f9254d56ccb92c94254eac9454777b539de024ae59",
    "versioned": "029aa5d85f523f9c495eb61d178c5d450799d3ae7a4d6547c3f71f23209e055d",
    "document": "fab0716bf40d1915eb04fe9296b7b0daadf8f0f2160efbcdb31ec47c40e7da64",
}


def test_fingerprints_are_those_of_the_first_release() -> None:
    found = fingerprints()
    assert {name: found[name] for name in GOLDEN} == GOLDEN


def test_a_fingerprint_is_the_sha256_of_canonical_json() -> None:
    canonical = b'{"kind":"payload","messages":[["user","h\\u00e9"]],"model":"a:m","settings":{"temperature":0.0}}'
    made = payload_fingerprint([Message("user", "hé")], "a:m", settings=Settings(temperature=0))
    assert made == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_another_process_with_other_hashes_makes_the_same_ones(seed: str) -> None:
    code = "import json; from tests.unit.definition.fingerprints import fingerprints; print(json.dumps(fingerprints()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == fingerprints()


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": MESSAGES[::-1]},
        {"messages": (Message("user", "Be brief."), MESSAGES[1])},
        {"messages": (MESSAGES[0], Message("user", "Grüße"))},
        {"model": "openai:gpt-5"},
        {"settings": Settings(temperature=0.1, max_tokens=100, stop=("END",))},
        {"settings": Settings(max_tokens=100, stop=("END",))},
        {"extra": {"z": 2, "a": {"nested": [True]}}},
        {"extra": None},
        {"output_schema": {"type": "object"}},
        {"output_schema": None},
        {"tools": ()},
        {"tools": (ToolSpec("search", "finds more", {"type": "object"}),)},
        {"tools": (ToolSpec("search", "finds", {"type": "array"}),)},
    ],
)
def test_everything_that_determines_an_answer_counts(changes: dict[str, Any]) -> None:
    assert payload_call(**changes) != payload_call()


def test_the_order_of_keys_does_not_count() -> None:
    assert payload_call(extra={"a": {"nested": [True]}, "z": 1}) == payload_call()


def test_unset_and_empty_are_the_same_but_zero_is_not_unset() -> None:
    bare = payload_fingerprint([Message("user", "hi")], "a:m", settings=Settings())
    assert bare == payload_fingerprint([Message("user", "hi")], "a:m", settings=Settings(stop=()), extra={}, tools=())
    assert bare != payload_fingerprint([Message("user", "hi")], "a:m", settings=Settings(temperature=0))


def test_what_a_message_holds_beside_text_counts() -> None:
    def of(message: Message) -> str:
        return payload_fingerprint([message], "a:m", settings=Settings())

    plain = Message("assistant", "x")
    called = Message("assistant", "x", tool_calls=[ToolCall("1", "f", "{}")])
    assert (
        len({of(plain), of(called), of(Message("assistant", [Text("x")])), of(Message("tool", "x", tool_call_id="1"))})
        == 4
    )


def test_text_cannot_pretend_to_be_another_message() -> None:
    one = [Message("user", 'a"],["user","b')]
    two = [Message("user", "a"), Message("user", "b")]
    assert payload_fingerprint(one, "a:m", settings=Settings()) != payload_fingerprint(two, "a:m", settings=Settings())


def of_function(function: Callable[..., Any], **arguments: Any) -> str:
    return function_fingerprint(function_action(function), arguments)


def test_arguments_of_a_function_count() -> None:
    assert of_function(count, text="a") != of_function(count, text="b")
    assert of_function(count, text="a") == of_function(count, text="a")


def test_two_functions_of_one_name_differ_by_their_source() -> None:
    def make(which: int) -> Callable[..., Any]:
        if which:

            def work(x: int) -> int:
                return x + 1
        else:

            def work(x: int) -> int:
                return x + 2

        return work

    assert of_function(make(0), x=1) != of_function(make(1), x=1)


def test_a_version_stands_for_the_source() -> None:
    def make(version: str, extra: int) -> Callable[..., Any]:
        @step(version=version)
        def work(x: int) -> int:
            return x + extra

        return work

    assert of_function(make("1", 1), x=1) == of_function(make("1", 2), x=1)
    assert of_function(make("1", 1), x=1) != of_function(make("2", 1), x=1)


def test_what_a_closure_holds_counts_when_it_is_data() -> None:
    assert of_function(adding(3), number=1) == of_function(adding(3), number=1)
    assert of_function(adding(3), number=1) != of_function(adding(4), number=1)


def test_a_decorated_function_differs_by_what_is_decorated_and_how() -> None:
    def times(factor: int) -> Callable[[Callable[..., int]], Callable[..., int]]:
        def decorate(function: Callable[..., int]) -> Callable[..., int]:
            @functools.wraps(function)
            def call(number: int) -> int:
                return function(number) * factor

            return call

        return decorate

    assert of_function(times(2)(adding(1)), number=1) == of_function(times(2)(adding(1)), number=1)
    assert of_function(times(2)(adding(1)), number=1) != of_function(times(3)(adding(1)), number=1)
    assert of_function(times(2)(adding(1)), number=1) != of_function(times(2)(adding(2)), number=1)


def test_defaults_count() -> None:
    def make(default: int) -> Callable[..., Any]:
        def work(x: int = default, *, y: int = 0) -> int:
            return x + y

        return work

    assert of_function(make(1)) != of_function(make(2))


def test_a_partial_differs_by_what_it_binds() -> None:
    def add(number: int, amount: int) -> int:
        return number + amount

    one, two = (function_fingerprint(function_action(functools.partial(add, amount=n)), {"number": 1}) for n in (1, 2))
    assert one != two


def test_bound_methods_and_callable_objects_differ_by_their_data() -> None:
    @dataclass
    class Adder:
        amount: int

        def add(self, number: int) -> int:
            return number + self.amount

        def __call__(self, number: int) -> int:
            return number + self.amount

    assert of_function(Adder(1).add, number=1) == of_function(Adder(1).add, number=1)
    assert of_function(Adder(1).add, number=1) != of_function(Adder(2).add, number=1)
    assert of_function(Adder(1), number=1) != of_function(Adder(2), number=1)


def test_taking_a_fingerprint_uses_nothing_up() -> None:
    def letters() -> Iterator[str]:
        yield from "abc"

    source = letters()

    def work() -> str:
        return next(source)

    of_function(work)
    assert work() == "a"


def test_functions_that_know_each_other_have_fingerprints() -> None:
    def even(number: int) -> bool:
        return number == 0 or odd(number - 1)

    def odd(number: int) -> bool:
        return number != 0 and even(number - 1)

    assert of_function(even, number=3) != of_function(odd, number=3)


def test_code_without_a_file_has_a_fingerprint() -> None:
    space: dict[str, Any] = {}
    exec("def work(x): return x + 1\ndef other(x): return x + 2", space)
    assert of_function(space["work"], x=1) != of_function(space["other"], x=1)
    assert of_function(space["work"], x=1) == of_function(space["work"], x=1)


def test_a_nested_workflow_counts_its_document_its_inputs_and_its_code() -> None:
    whole = workflow_fingerprint({"name": "w"}, {"a": 1}, code={"s": "x"})
    assert whole == workflow_fingerprint({"name": "w"}, {"a": 1}, code={"s": "x"})
    assert whole != workflow_fingerprint({"name": "v"}, {"a": 1}, code={"s": "x"})
    assert whole != workflow_fingerprint({"name": "w"}, {"a": 2}, code={"s": "x"})
    assert whole != workflow_fingerprint({"name": "w"}, {"a": 1}, code={"s": "y"})


def test_the_code_of_a_workflow_is_that_of_its_functions_at_any_depth() -> None:
    def outer_with(amount: int) -> dict[str, str]:
        inner = Workflow("inner")
        inner.add(adding(amount), name="add", number=1)
        outer = Workflow("outer")
        outer.add(inner, name="sub")
        outer.add(count, text="{{ sub }}")
        outer.returns([])
        return dict(code_of(outer.freeze()))

    one, two = outer_with(1), outer_with(2)
    assert set(one) == {"sub/add", "count"}
    assert one["count"] == two["count"]
    assert one["sub/add"] != two["sub/add"]
