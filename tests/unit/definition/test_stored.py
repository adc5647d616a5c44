"""Definitions as stores keep them: the same sha everywhere, and the same workflow again in another process."""

from __future__ import annotations

import copy
import datetime
import enum
import functools
import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel, Field, InstanceOf

from llmorch import (
    Block,
    CodeMissing,
    Default,
    Event,
    InputInvalid,
    Orchestrator,
    Payload,
    Retry,
    StoreCorrupt,
    StoreError,
    ValueRefused,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
    step,
    tool,
)
from llmorch._json import dumps
from llmorch.definition.actions import FunctionAction, PayloadAction, WorkflowAction
from llmorch.definition.document import to_document
from llmorch.definition.fingerprint import code_of, function_fingerprint, workflow_fingerprint
from llmorch.definition.node import Filled
from llmorch.definition.stored import changed, rebuilt, stored
from llmorch.definition.workflow import WorkflowDef
from llmorch.inputs import prepare_inputs
from llmorch.models.tool import Tool
from llmorch.planner.checks import check
from llmorch.planner.compile import compiled
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ScriptedProvider, run_virtual
from tests.flow.built import build, provider_script
from tests.flow.described import Flow, Leaf, Loop, Pick, Rule
from tests.flow.random_dags import flows

ROOT = Path(__file__).parents[3]
EXAMPLES = int(os.environ.get("RANDOM_DEFINITIONS", "40"))
SEED = int(os.environ.get("STRANGE_BODIES_SEED", "7"))
STRANGE_BODIES = int(os.environ.get("STRANGE_BODIES", "400"))


class Facts(BaseModel):
    title: str
    claims: list[str]


class Mood(enum.Enum):
    GOOD = "good"


Score = Annotated[int, Field(ge=0)]
Whoever = InstanceOf[Workflow] | str


def count(post: str) -> int:
    return len(post)


@step(retry=Retry(2, max_wait=math.inf), version="1")
def patient(post: str) -> Facts:
    return Facts(title=post, claims=[])


@tool
def search(query: str) -> str:
    """Find pages."""
    return query


look_up = Tool.from_schema("look-up", lambda given: given, schema={"type": "object", "properties": {"id": {}}})


def adding(amount: int) -> Callable[[int], int]:
    def add(number: int) -> int:
        return number + amount

    return add


def everything() -> Workflow[Any]:
    """All that a definition can hold."""
    inner = Workflow("inner", description="one claim", on_error="skip")
    inner.input("claim", str, untrusted=True)
    inner.add(Payload("check", "Is it true? {{ claim }}", output=Literal["yes", "no"]))
    inner.add(lambda check: [check], name="wrap")
    wf = Workflow("all", description="everything at once")
    wf.input("audience", str, default="engineers", description="who reads it")
    wf.input("unused", list[set[int]], default=[[1]])
    wf.input("when", datetime.date, default="2026-01-01")
    wf.input("score", Score, default=3)
    wf.input("part", tuple[int, Mood], default=[1, "good"])
    facts = wf.add(
        Payload(
            "facts", Block("rules", "Be {{ tone }}.", role="system", defaults={"tone": {"b": 1, "a": 2}}, tags=["a"]),
            "{{ article }} {{ when }} {{ score }} {{ part }}", output=list[Facts] | Score,
            temperature=0, stop=["END"], extra={"top_k": 5}, fallback=["b:x"], retry=Retry(2, cap=math.inf),
            timeout=math.inf, cache=datetime.timedelta(hours=1),
            tools=[search, tool(name="find")(search.function), look_up],
        )
    )  # fmt: skip
    checks = wf.map(inner, name="checks", claim=each(facts["claims"]), concurrency=4, on_error="skip", timeout=math.inf)
    a = wf.add(
        Payload("a-1", "{{ facts.title }}"), on_error="skip", when="facts.title != limit", limit="", after=[checks]
    )
    b = wf.add(Payload("b", "{{ facts }}"), on_error=Default({"from": "nowhere"}), when=facts["title"])
    post = wf.add(
        Payload("post", "{{ either }} {{ both }} {{ extra }} {{ mixed }} {{ lit }} {{ a_1 }}"),
        on_unknown="fail", either=first_of(a, b), both=first_n([a, b], 1, cancel_rest=True),
        extra=optional(checks[0]["odd key"], default=[1]), mixed={"x": [a, 1, {"y": facts["claims"][-1]}]},
        lit={"from": "a literal"},
    )  # fmt: skip
    wf.add(count)
    wf.add(patient, when="post and a_1")
    sums = [wf.add(adding(n), name=f"add-{n}", number=n) for n in (1, 2)]
    return wf.returns({"post": post, "sums": sums, "facts": facts, "n": wf.add(count, name="again", post=b)})


def plain() -> Workflow[Any]:
    """A workflow without any Python."""
    wf = Workflow("plain")
    wf.input("day", datetime.date)
    talk = wf.add(Payload("talk", "Talk about {{ topic }} on {{ day }}.", model="scripted:m"))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wf.add(Payload("score", "Score {{ talk }}", output=schema, model="scripted:m"), when="talk | length > 2")
    wf.add(Payload("mood", "{{ score }}", output=list[Literal["a", "b"]], model="scripted:m"))
    return wf.returns([talk, optional(wf.add(Payload("last", "{{ mood }}", model="scripted:m")))])


def kept(definition: WorkflowDef) -> tuple[str, Any]:
    """Sha and body as a store gives them back."""
    sha, body = stored(definition)
    return sha, json.loads(dumps(body))


def again(definition: WorkflowDef, *known: WorkflowDef) -> WorkflowDef:
    sha, body = kept(definition)
    return rebuilt(body, known, sha=sha)


def later(make: Callable[[], Workflow[Any]]) -> WorkflowDef:
    """The workflow as a later version has it: with one step more, first, and another description."""
    wf = make()
    newer: Workflow[Any] = Workflow(wf.name, description="a later version", on_error=wf.freeze().on_error)
    newer.add(Payload("added-later", "x"))
    for spec in wf.freeze().steps:
        newer._draft.steps.append(next(one for one in wf._draft.steps if one.name == spec.name))
    newer._draft.inputs.update(wf._draft.inputs)
    newer._draft.owner = wf._draft.owner
    newer._draft.output = wf._draft.output
    return newer.freeze()


def elsewhere(make: Callable[[], Workflow[Any]]) -> WorkflowDef:
    """Another workflow that has all its code, under other step names."""
    return Workflow.of(make(), name="elsewhere").freeze()


def assert_equal(one: WorkflowDef, two: WorkflowDef) -> None:
    assert stored(one) == stored(two)
    assert to_document(one) == to_document(two)
    assert (one.name, one.description, one.on_error, one.warnings) == (
        two.name,
        two.description,
        two.on_error,
        two.warnings,
    )
    assert list(one.inputs.items()) == list(two.inputs.items())
    assert one.output == two.output
    for before, after in zip(one.steps, two.steps, strict=True):
        assert list(before.bindings.items()) == list(after.bindings.items()), before.name
        assert before.when == after.when
        assert (before.name, before.after, before.on_error, before.timeout, before.on_unknown, before.map) == (
            after.name, after.after, after.on_error, after.timeout, after.on_unknown, after.map,
        )  # fmt: skip
        match before.action, after.action:
            case WorkflowAction(inner), WorkflowAction(other):
                assert_equal(inner, other)
            case PayloadAction(payload), PayloadAction(same):
                assert payload.using(timeout=None, cache=None) == same.using(timeout=None, cache=None)
                assert (payload.timeout_s, payload.output) == (same.timeout_s, same.output)
            case _:
                assert before.action == after.action


# The sha -------------------------------------------------------------------------------------------------------------


def test_the_sha_is_that_of_the_body_s_text() -> None:
    sha, body = stored(everything().freeze())
    assert sha == hashlib.sha256(dumps(body).encode()).hexdigest()


def test_it_is_worked_out_once() -> None:
    definition = everything().freeze()
    assert stored(definition) is stored(definition)


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_another_process_with_other_hashes_makes_the_same_sha(seed: str) -> None:
    code = "from tests.unit.definition.test_stored import *; print(stored(everything().freeze())[0])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == stored(everything().freeze())[0]


def changes() -> Iterator[Workflow[Any]]:
    """Workflows each of which goes on differently from the one before and all others."""
    ask, one = Payload("ask", "{{ x }}", model="a:m"), Workflow("w")
    yield Workflow.of(ask, name="w")
    for made in (ask.using(temperature=0), ask.using(blocks=["{{ x }} "]), ask.using(output=int), ask.using(timeout=5)):
        yield Workflow.of(made, name="w")
    for options in (
        {"timeout": 1}, {"on_error": "skip"}, {"on_error": Default(1)}, {"on_error": Default(1.0)},
        {"on_unknown": "fail"}, {"when": "x"}, {"x": 1}, {"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}},
    ):  # fmt: skip
        one = Workflow("w")
        one.add(ask, **options)
        yield one
    yield Workflow("w", on_error="skip") if one.add(ask) is None else Workflow.of(ask.using(name="other"), name="w")
    declared = Workflow.of(ask, name="w")
    declared.input("x", Any)
    yield declared
    for function in (adding(1), adding(2), count, patient):
        wf = Workflow("w")
        wf.add(function, name="ask", **{"post" if function in (count, patient) else "number": 1})
        yield wf
    for tools in ([search], [tool(name="find")(search.function)], [tool(description="d")(search.function)]):
        yield Workflow.of(ask.using(tools=tools), name="w")


def test_whatever_decides_how_a_run_goes_on_is_part_of_the_sha() -> None:
    shas = [stored(wf.freeze())[0] for wf in changes()]
    assert len(set(shas)) == len(shas)
    assert shas == [stored(wf.freeze())[0] for wf in changes()]


def test_a_number_that_json_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(ValueRefused, match="temperature of payload 'p'"):
        stored(Workflow.of(Payload("p", "x", temperature=math.inf), name="w").freeze())
    wf = Workflow("w")
    wf.add(Payload("p", "{{ x }}"), x=10**5000)
    with pytest.raises(ValueRefused, match="Workflow 'w' cannot be stored"):
        stored(wf.freeze())


def test_a_function_whose_captured_values_cannot_be_looked_at_is_stored_without_a_hash() -> None:
    class Sulking(BaseModel):
        def model_dump(self, **_: Any) -> Any:
            raise RuntimeError("not now")

    sulking = Sulking()
    wf = Workflow("w")
    wf.add(lambda: repr(sulking), name="f")
    assert again(wf.freeze(), wf.freeze()) is wf.freeze()
    assert stored(wf.freeze())[1]["workflow"]["steps"][0]["function"]["code"] == ""


# Found again ---------------------------------------------------------------------------------------------------------


def test_a_registered_workflow_that_is_the_same_is_taken_itself() -> None:
    definition = everything().freeze()
    assert again(everything().freeze(), plain().freeze(), later(everything), definition) is definition


@pytest.mark.parametrize("known", [later, elsewhere])
def test_the_stored_definition_counts_whatever_the_registered_one_has_become(known: Any) -> None:
    definition, source = everything(), everything()
    made = rebuilt(kept(definition.freeze())[1], [known(lambda: source)])
    assert made is not definition.freeze()
    assert stored(made) == stored(definition.freeze())
    assert [step.name for step in made.steps] == [step.name for step in definition.freeze().steps]
    assert made.description == "everything at once"
    assert changed(stored(definition.freeze())[1], made) == []
    assert_equal(made, again(source.freeze(), source.freeze()))


def test_a_rebuilt_definition_is_compiled_to_the_same_plan() -> None:
    source = everything()
    one, two = compiled(source.freeze()), compiled(again(source.freeze(), later(lambda: source)))
    assert (one.in_degree, one.slots, one.order, one.size) == (two.in_degree, two.slots, two.order, two.size)
    for before, after in zip(one.steps, two.steps, strict=True):
        assert (before.name, before.slot, before.on_error, before.each) == (
            after.name,
            after.slot,
            after.on_error,
            after.each,
        )
        assert (before.dependents, before.selections, before.cancellable) == (
            after.dependents, after.selections, after.cancellable,
        )  # fmt: skip
        assert [(name, slot) for name, slot, _ in before.args] == [(name, slot) for name, slot, _ in after.args]


def test_fingerprints_stay_what_they_were() -> None:
    source = everything()
    one, two = source.freeze(), again(source.freeze(), elsewhere(lambda: source))
    assert code_of(one) == code_of(two)
    assert workflow_fingerprint(to_document(one), {"article": "x"}, code=code_of(one)) == workflow_fingerprint(
        to_document(two), {"article": "x"}, code=code_of(two)
    )
    for before, after in zip(one.steps, two.steps, strict=True):
        if isinstance(before.action, FunctionAction) and isinstance(after.action, FunctionAction):
            assert function_fingerprint(before.action, {"n": 1}) == function_fingerprint(after.action, {"n": 1})


@pytest.mark.parametrize(
    "values", [{"score": "7"}, {"score": -1}, {"part": ["1", "good"]}, {"part": [1, "bad"]}, {"when": "x"}, {}]
)
def test_inputs_are_validated_as_before(values: dict[str, Any]) -> None:
    def prepared(definition: WorkflowDef) -> object:
        try:
            return prepare_inputs(definition, None, keywords={"article": "x", **values}, options={})
        except InputInvalid as error:
            return str(error)

    source = everything()
    assert prepared(again(source.freeze(), later(lambda: source))) == prepared(source.freeze())


def test_types_are_the_registered_ones_also_those_that_have_no_form_of_their_own() -> None:
    source = everything()
    made = again(source.freeze(), later(lambda: source))
    assert {name: spec.type for name, spec in made.inputs.items()} == {
        name: spec.type for name, spec in source.freeze().inputs.items()
    }
    facts = made.step("facts").action
    assert isinstance(facts, PayloadAction)
    assert facts.payload.output == list[Facts] | Score
    assert [one.name for one in facts.payload.tools] == ["search", "find", "look-up"]
    assert facts.payload.tools[2] is look_up


def test_a_type_without_a_json_schema_is_found_where_it_stood() -> None:
    def make() -> Workflow[Any]:
        wf = Workflow("w")
        wf.input("x", Whoever)
        wf.add(Payload("p", "{{ x }}"))
        return wf

    newer = make()
    newer.add(Payload("q", "{{ p }}"))
    assert again(make().freeze(), newer.freeze()).inputs["x"].type == Whoever
    with pytest.raises(CodeMissing, match=r"type Workflow \| str, which an input needs"):
        again(make().freeze())


def test_a_workflow_without_python_needs_nothing_registered() -> None:
    made = again(plain().freeze())
    assert_equal(made, plain().freeze())
    assert made.inputs["day"].type is datetime.date
    assert made.inputs["topic"].implied


def test_names_in_a_template_of_a_file_stand_for_what_they_stood_for() -> None:
    text = """
    name: w
    inputs: {who-am-i: {type: str}}
    steps:
      - {name: a-b, payload: {name: a, blocks: [x]}}
      - {name: c, payload: {name: c, blocks: ["{{ t }}"]}, bind: {t: {template: "{{ a_b }} {{ who_am_i }}"}}}
    """
    definition = Workflow.from_yaml(text).freeze()
    made = again(definition)
    assert_equal(made, definition)
    binding = made.step("c").bindings["t"]
    assert isinstance(binding, Filled)
    assert dict(binding.refs)["a_b"].source == "a-b"


def test_a_changed_function_is_taken_and_named() -> None:
    def make(amount: int, output: Any, description: str) -> WorkflowDef:
        inner = Workflow("inner")
        inner.add(adding(amount), name="add", number=1)
        wf = Workflow("w")
        wf.add(inner, name="deep")
        wf.add(Payload("typed", "x", output=output))
        wf.add(Payload("tooled", "x", tools=[tool(description=description)(search.function)]))
        wf.add(count, name="same", post="x")
        return wf.returns("x").freeze()

    class Old(BaseModel):
        n: int

    class New(BaseModel):
        n: int
        m: int

    New.__qualname__ = Old.__qualname__
    body = kept(make(1, Old, "old"))[1]
    newer = make(2, New, "new")
    made = rebuilt(body, [newer])
    assert changed(body, made) == ["deep/add", "typed", "tooled"]
    typed = made.step("typed").action
    assert isinstance(typed, PayloadAction)
    assert typed.payload.output is New


def test_a_function_with_other_parameters_keeps_the_bindings_it_had() -> None:
    def make(function: Callable[..., Any]) -> WorkflowDef:
        function.__qualname__ = function.__name__ = "work"
        wf = Workflow("w")
        wf.add(Payload("text", "x"))
        wf.add(function, name="work")
        return wf.freeze()

    definition = make(lambda text: 1)
    made = again(definition, make(lambda text, other="": 2))
    assert dict(made.step("work").bindings) == dict(definition.step("work").bindings)
    assert changed(stored(definition)[1], made) == ["work"]


def test_closures_of_one_address_are_told_apart_by_their_code() -> None:
    def make(*names: str) -> WorkflowDef:
        wf = Workflow("w")
        for number, name in enumerate(names):
            wf.add(adding(number), name=name, number=0)
        return wf.returns("x").freeze()

    made = again(make("a", "b", "c"), make("x", "y", "z"))
    actions = [one.action for one in made.steps]
    assert [action.function(0) for action in actions if isinstance(action, FunctionAction)] == [0, 1, 2]
    with pytest.raises(CodeMissing, match="adding"):
        again(make("a", "b", "c", "d"), make("x", "y", "z"))


def test_of_several_registered_versions_the_one_with_the_stored_code_is_taken() -> None:
    def make(amount: int, *more: str) -> WorkflowDef:
        wf = Workflow("w")
        wf.add(adding(amount), name="add", number=0)
        for name in more:
            wf.add(Payload(name, "x"))
        return wf.returns("x").freeze()

    for known in ([make(5), make(1, "more")], [make(1, "more"), make(5)]):
        action = again(make(1), *known).step("add").action
        assert isinstance(action, FunctionAction)
        assert action.function(0) == 1


def test_an_action_that_is_registered_just_like_this_is_taken_itself() -> None:
    source = everything()
    newer = later(lambda: source)
    made = again(everything().freeze(), newer)
    assert made.step("b").action is newer.step("b").action
    assert made.step("facts").action is newer.step("facts").action


def test_parts_are_named_by_what_they_are() -> None:
    class Key(str, enum.Enum):  # noqa: UP042  # a StrEnum reads as its value anyway
        ODD = "odd key"

    wf = Workflow("w")
    rows = wf.input("rows", Any)
    wf.add(Payload("p", "{{ a }} {{ b }} {{ c }}"), a=rows[Key.ODD], b=rows[99_999_999_999], c=rows[-1]['\n"]'])
    made = again(wf.freeze())
    assert dict(made.step("p").bindings) == dict(wf.freeze().step("p").bindings)


def test_the_policies_of_a_function_are_those_that_were_stored() -> None:
    def make(attempts: int) -> WorkflowDef:
        def work() -> int:
            return 1

        wf = Workflow("w")
        wf.add(step(retry=Retry(attempts), version="1")(work), name="work")
        return wf.freeze()

    action = again(make(2), make(5)).step("work").action
    assert isinstance(action, FunctionAction)
    assert action.retry == Retry(2)
    assert changed(stored(make(2))[1], again(make(2), make(5))) == []


def test_callables_without_a_name_of_their_own_are_found_by_their_step() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.start = start

        def __call__(self) -> int:
            return self.start

    def make(*names: str) -> Workflow[Any]:
        wf = Workflow("w")
        for name in names:
            wf.add({"object": Counter(3), "partial": functools.partial(count, post="abcd")}[name], name=name)
        return wf.returns("x")

    made = again(make("object", "partial").freeze(), later(lambda: make("partial", "object")))
    assert [one.action.function() for one in made.steps] == [3, 4]  # type: ignore[union-attr]  # they are functions


def test_documents_hold_types_with_parts_that_only_a_schema_can_say_and_times_without_end() -> None:
    wf = Workflow("w")
    wf.input("rows", list[set[int]] | dict[str, tuple[int, str]])
    wf.add(Payload("p", "{{ rows }}", timeout=math.inf, retry=Retry(max_wait=math.inf)), timeout=math.inf)
    made = Workflow.from_yaml(wf.to_yaml()).freeze()
    assert to_document(made) == wf.to_dict()
    assert made.step("p").timeout == math.inf
    assert prepare_inputs(made, None, keywords={"rows": [[1]]}, options={}) == {"rows": [[1]]}
    action = made.step("p").action
    assert isinstance(action, PayloadAction)
    assert (action.payload.timeout_s, action.payload.retry) == (math.inf, Retry(max_wait=math.inf))


def test_a_schema_inside_a_type_of_a_document_is_refused_with_what_to_write() -> None:
    document = to_document(plain().freeze())
    document["inputs"]["day"]["type"] = {"list": {"schema": {"type": "integer"}}}
    with pytest.raises(WorkflowInvalid, match="write the whole type as one"):
        Workflow.from_dict(document)


# What is missing -----------------------------------------------------------------------------------------------------


def test_all_code_that_is_missing_is_named_with_its_step() -> None:
    with pytest.raises(CodeMissing) as caught:
        rebuilt(kept(everything().freeze())[1], [plain().freeze()], run_id="r1")
    text = str(caught.value)
    for wanted in (
        f"function {__name__}:count, which step 'count' needs",
        f"function {__name__}:everything.<locals>.<lambda>, which step 'checks/wrap' needs",
        f"tool 'find' ({__name__}:search), which step 'facts' needs",
        f"function {__name__}:adding.<locals>.add, which step 'add-1' needs",
        "Run r1 of workflow 'all'",
        "Orchestrator(workflows=[...])",
    ):
        assert wanted in text, text
    assert (caught.value.run_id, caught.value.step) == ("r1", "facts")


def test_a_type_that_is_missing_is_named() -> None:
    wf = Workflow.of(Payload("p", "x", output=list[Facts]), name="w")
    with pytest.raises(CodeMissing, match=f"type {__name__}:Facts, which step 'p' needs"):
        again(wf.freeze())
    other = Workflow("other")
    other.input("facts", Facts | None)
    other.add(Payload("q", "{{ facts }}"))
    assert_equal(again(wf.freeze(), other.freeze()), wf.freeze())


def test_nothing_is_imported() -> None:
    body = kept(Workflow.of(count, name="w").freeze())[1]
    body["workflow"]["steps"][0]["function"]["python"] = "antigravity:open"
    with pytest.raises(CodeMissing, match="antigravity:open"):
        rebuilt(body, [])
    assert "antigravity" not in sys.modules


# Strange bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 17])
def test_a_later_format_is_refused_by_name(version: int) -> None:
    with pytest.raises(StoreError, match=rf"run r1 has format {version}; .* up to 1, so update it") as caught:
        rebuilt({"format": version, "something": "else"}, [], run_id="r1")
    assert not isinstance(caught.value, StoreCorrupt)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "no format and workflow"),
        ({"format": True, "workflow": {}}, "no format and workflow"),
        ({"format": "1", "workflow": {}}, "no format and workflow"),
        ({"format": 1}, "no format and workflow"),
        ({"format": 1, "workflow": {}}, "'name', 'steps' must be given"),
        ({"format": 1, "workflow": {"name": "w", "steps": [], "loops": 1}}, "unknown key 'loops'"),
        ({"format": 1, "workflow": {"name": "w", "steps": [{"name": "a"}]}}, "exactly one of payload"),
        ({"format": 1, "workflow": {"name": "w", "steps": [], "output": {"from": "a"}}}, "reads 'a', which is not"),
    ],
)
def test_a_strange_body_is_corrupt(body: Any, words: str) -> None:
    with pytest.raises(StoreCorrupt, match=words) as caught:
        rebuilt(body, [], run_id="r1")
    assert "The definition of run r1 cannot be read" in str(caught.value)
    assert "restore the store from a backup" in str(caught.value)


def test_a_body_that_was_altered_does_not_have_its_sha() -> None:
    sha, body = kept(plain().freeze())
    body["workflow"]["steps"][0]["payload"]["blocks"][0] += "!"
    with pytest.raises(StoreCorrupt, match=sha):
        rebuilt(body, [plain().freeze()], sha=sha)
    assert rebuilt(body, [plain().freeze()]).name == "plain"


def test_steps_that_wait_for_each_other_are_corrupt() -> None:
    body = kept(plain().freeze())[1]
    body["workflow"]["steps"][0]["after"] = ["last"]
    with pytest.raises(StoreCorrupt, match="wait for each other"):
        rebuilt(body, [])


def test_nesting_without_end_is_corrupt() -> None:
    inner: dict[str, Any] = {"name": "w", "steps": []}
    for _ in range(300):
        inner = {"name": "w", "steps": [{"name": "a", "workflow": inner}]}
    with pytest.raises(StoreCorrupt, match="more than 16 deep"):
        rebuilt({"format": 1, "workflow": inner}, [])
    literal: Any = []
    for _ in range(5_000):
        literal = [literal]
    with pytest.raises(StoreCorrupt):
        rebuilt({"format": 1, "workflow": {"name": "w", "steps": [], "output": {"each": literal}}}, [])


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a body with every key in it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from spots(value[key])


ODD: list[Any] = [
    None, True, -1, 10**30, 0.5, "", "facts", "{{", "a.b[", "\ud800", [], {}, [[]], {"from": "facts"}, {"from": 3},
    {"each": "facts"}, {"template": "{{ x"}, {"python": "a:b"}, {"list": {"schema": {}}}, {"default": 1},
]  # fmt: skip


def test_any_damage_is_a_store_error_or_a_definition_that_can_be_checked() -> None:
    dice = random.Random(SEED)
    source = everything()
    whole, known = kept(source.freeze())[1], [later(lambda: source)]
    refused = 0
    for number in range(STRANGE_BODIES):
        body = copy.deepcopy(whole)
        for _ in range(dice.randint(1, 2)):
            holder, key = dice.choice(list(spots(body)))
            match dice.randrange(4):
                case 0:
                    del holder[key]
                case 1 if isinstance(holder, dict):
                    holder[dice.choice(["odd", "output", "name", "bind", "when"])] = holder.pop(key)
                case 2:
                    holder[key] = copy.deepcopy(dice.choice(list(spots(whole)))[0])
                case _:
                    holder[key] = copy.deepcopy(dice.choice(ODD))
        try:
            made = rebuilt(body, known)
            check(made, None)
            changed(body, made)
        except (StoreError, CodeMissing):
            refused += 1
        except Exception as error:
            raise AssertionError(f"STRANGE_BODIES_SEED={SEED}, body {number}: {body}") from error
    assert refused > STRANGE_BODIES // 3


# Runs ----------------------------------------------------------------------------------------------------------------


class Frozen(Workflow[Any]):
    """Runs a definition as it is."""

    def __init__(self, definition: WorkflowDef) -> None:
        super().__init__(definition.name)
        self.definition = definition

    def draft(self) -> tuple[WorkflowDef, tuple[str, ...]]:
        return self.definition, ()


async def pace() -> None:
    await anyio.lowlevel.checkpoint()


async def log_of(definition: WorkflowDef, script: dict[str, object], inputs: dict[str, Any]) -> list[Event]:
    """What a run of the definition records, without what is its own in every run."""
    store = MemoryStore()
    provider = ScriptedProvider(script)
    async with Orchestrator(store, providers=[provider], model="scripted:m", concurrency=1) as orch:
        run = await orch.run(Frozen(definition), inputs)
        return [replace(event, run_id="", at_us=0) for event in await store.events(run.id, limit=100_000)]


def logs(definitions: Sequence[WorkflowDef], script: Callable[[], dict[str, object]], inputs: Any) -> list[list[Event]]:
    return [run_virtual(log_of, definition, script(), inputs, backend="asyncio") for definition in definitions]


def test_a_rebuilt_workflow_runs_as_it_would_have() -> None:
    script = {"talk": "a long talk", "score": '{"n": 4}', "mood": '["a", "b"]', "last": "done"}
    values = {"day": datetime.date(2026, 1, 1), "topic": "tea"}
    one, two = logs([plain().freeze(), again(plain().freeze())], lambda: dict(script), values)
    assert one == two
    assert len(one) > 8


def without_people(flow: Flow) -> Flow:
    """The same workflow with quick functions in place of questions: people answer now sooner and now later."""
    return mapped(flow, lambda leaf: replace(leaf, how="inline") if leaf.how == "ask" else leaf)


def in_prompts(flow: Flow) -> Flow:
    """The same workflow with prompts in place of functions."""
    return mapped(flow, lambda leaf: replace(leaf, how="prompt", kind="list" if leaf.kind == "list" else "text"), True)


def mapped(flow: Flow, change: Callable[[Leaf], Leaf], no_functions: bool = False) -> Flow:
    """The workflow with other leaves; rules of loops are expressions where there shall be no functions."""

    def rule(one: Rule) -> Rule:
        return replace(one, as_function=False) if no_functions else one

    def inside(action: Any) -> Any:
        match action:
            case Flow():
                return mapped(action, change, no_functions)
            case Loop():
                carry = {name: rule(one) for name, one in action.carry.items()}
                return replace(action, body=inside(action.body), until=rule(action.until), carry=carry)
            case Pick():
                branches = {key: replace(one, action=inside(one.action)) for key, one in action.branches.items()}
                last = action.otherwise
                otherwise = None if last is None else replace(last, action=inside(last.action))
                return replace(action, branches=branches, otherwise=otherwise)
            case _:
                return change(action)

    return replace(flow, steps=tuple(replace(one, action=inside(one.action)) for one in flow.steps))


@given(flow=flows())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
)
def test_any_workflow_is_found_again_and_runs_as_it_would_have(flow: Flow) -> None:
    flow = without_people(flow)
    workflow = build(flow, pace)
    definition = workflow.freeze()
    sha, body = kept(definition)
    assert stored(build(flow, pace).freeze())[0] == sha
    assert rebuilt(body, [definition], sha=sha) is definition
    newer, other = later(lambda: workflow), Workflow.of(workflow, name="other").freeze()
    made = [rebuilt(body, [known], sha=sha) for known in (newer, other)]
    assert [stored(one)[0] for one in made] == [sha, sha]
    assert [changed(body, one) for one in made] == [[], []]
    before, *after = logs([definition, *made], lambda: provider_script(flow, pace), {"p": [4, 5], "q": 2})
    for log in after:
        assert log == before
    without = build(in_prompts(flow), pace).freeze()
    assert stored(again(without))[0] == stored(without)[0]
    assert to_document(again(without)) == to_document(without)
    if code_of(definition):
        with pytest.raises(CodeMissing, match=r"tests\.flow\.built"):
            rebuilt(body, [])
