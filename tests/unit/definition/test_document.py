"""The document form of workflows: written, read back, and never executed."""

from __future__ import annotations

import contextlib
import enum
import sys
from datetime import timedelta
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from llmorch import _yaml, workflow_files
from llmorch.definition.document import (
    definition_sha,
    from_document,
    is_portable,
    to_document,
    unportable,
)
from llmorch.definition.document_binding import binding_from, binding_to
from llmorch.definition.document_read import Reader
from llmorch.definition.document_type import type_from, type_to
from llmorch.definition.node import (
    Binding,
    DictOf,
    Each,
    Filled,
    FirstN,
    FirstOf,
    ListOf,
    Ref,
    each,
    first_n,
    first_of,
    optional,
)
from llmorch.definition.node import Literal as LiteralBinding
from llmorch.definition.node import Optional as OptionalBinding
from llmorch.definition.wiring import wire
from llmorch.definition.workflow import WorkflowDef
from llmorch.errors import CodeMissing, LLMOrchError, WorkflowInvalid
from llmorch.models.block import Block
from llmorch.models.message import Image, Message, Text, ToolCall
from llmorch.models.payload import Payload
from llmorch.models.policy import Default, Retry
from llmorch.workflow import Workflow


class Facts(BaseModel):
    title: str
    claims: list[str]


class Mood(enum.Enum):
    GOOD = "good"


def count(post: str) -> int:
    return len(post)


CODE: dict[str, object] = {f"{__name__}:{thing.__qualname__}": thing for thing in (Facts, Mood, count)}


def everything() -> Workflow[Any]:
    inner = Workflow("inner", description="one claim", on_error="skip")
    inner.input("claim", str, untrusted=True)
    inner.add(Payload("check", "Is it true? {{ claim }}", output=Literal["yes", "no"]))
    wf = Workflow("all", description="everything at once")
    wf.input("audience", str, default="engineers", description="who reads it")
    facts = wf.add(
        Payload(
            "facts",
            Block("rules", "Be {{ tone }}.", role="system", defaults={"tone": "brief"}, tags=["a"]),
            "{{ article }}",
            model="a:m",
            output=Facts,
            temperature=0,
            stop=["END"],
            extra={"top_k": 5},
            fallback=["b:x"],
            retry=Retry(2, cap=5),
            timeout=timedelta(minutes=1),
            output_retries=3,
            tags=["t"],
            description="d",
            history=[
                Message("user", "hi"),
                Message("assistant", "", tool_calls=[ToolCall("1", "f", "{}")]),
                Message("user", [Text("see"), Image("data:image/png;base64,AA")]),
            ],
        )
    )
    checks = wf.map(inner, name="checks", claim=each(facts["claims"]), concurrency=4, on_error="skip", timeout=30)
    a = wf.add(Payload("a", "{{ facts.title }}"), on_error="skip", when="facts.title != ''", after=[checks])
    b = wf.add(Payload("b", "{{ facts }}"), on_error=Default({"from": "nowhere"}), when=facts["title"])
    wf.add(
        Payload("post", "{{ either }} {{ both }} {{ extra }} {{ mixed }} {{ lit }}"),
        on_unknown="fail",
        either=first_of(a, b),
        both=first_n([a, b], 1, cancel_rest=True),
        extra=optional(checks[0]["odd key"], default=[1]),
        mixed={"x": [a, 1, {"y": facts["claims"][-1]}]},
        lit={"from": "a literal"},
        when="go == 1",
        go=b,
    )
    wf.add(count)
    return wf.returns({"n": Ref("count"), "post": Ref("post")})


def doc_of(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "w", "steps": list(steps), **fields}


def asking(name: str, text: str = "x", **fields: Any) -> dict[str, Any]:
    return {"name": name, "payload": {"name": name, "blocks": [text]}, **fields}


def faults_of(document: Any) -> tuple[str, ...]:
    with pytest.raises(WorkflowInvalid) as caught:
        from_document(document, code=CODE)
    return caught.value.faults


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


# Round trips ---------------------------------------------------------------------------------------------------------


def test_a_document_reads_back_to_the_same_document() -> None:
    document = to_document(everything().freeze())
    again = from_document(document, code=CODE)
    assert to_document(again) == document
    assert definition_sha(again) == definition_sha(everything().freeze())


def test_a_document_reads_back_to_the_same_steps() -> None:
    before, after = everything().freeze(), from_document(to_document(everything().freeze()), code=CODE)
    assert after.output == before.output
    for one, two in zip(before.steps, after.steps, strict=True):
        assert dict(one.bindings) == dict(two.bindings), one.name
        assert (one.when is None) == (two.when is None)
        if one.when is not None and two.when is not None:
            assert (one.when.expression, dict(one.when.bindings)) == (two.when.expression, dict(two.when.bindings))
        assert (one.after, one.on_error, one.timeout, one.on_unknown, one.map) == (
            two.after,
            two.on_error,
            two.timeout,
            two.on_unknown,
            two.map,
        )
    facts = after.step("facts").action.payload  # type: ignore[union-attr]  # it is a payload
    assert facts.output is Facts
    assert facts.using(timeout=None) == before.step("facts").action.payload.using(timeout=None)  # type: ignore[union-attr]  # as above


def from_yaml(text: str, **options: Any) -> WorkflowDef:
    return wire(workflow_files.from_yaml(text, **options))[0]


def test_a_document_survives_yaml_and_json() -> None:
    import json

    definition = everything().freeze()
    document = to_document(definition)
    assert to_document(from_yaml(_yaml.dumps(to_document(definition)), code=CODE)) == document
    assert to_document(from_document(json.loads(json.dumps(document)), code=CODE)) == document


def test_implied_inputs_are_written_as_declared() -> None:
    document = to_document(everything().freeze())
    assert document["inputs"] == {
        "audience": {"type": "str", "default": "engineers", "description": "who reads it"},
        "article": {},
    }
    again = from_document(document, code=CODE)
    assert not again.inputs["article"].implied
    assert again.inputs["article"].is_required


def test_a_short_workflow_makes_a_short_document() -> None:
    wf = Workflow.of(Payload("talk", "Talk about {{ topic }}.", model="a:m"), name="w")
    assert to_document(wf.freeze()) == {
        "llmorch": 1,
        "name": "w",
        "inputs": {"topic": {}},
        "steps": [
            {
                "name": "talk",
                "payload": {"name": "talk", "blocks": ["Talk about {{ topic }}."], "model": "a:m"},
                "bind": {"topic": {"from": "topic"}},
            }
        ],
        "output": {"from": "talk"},
    }


def test_a_document_may_be_written_without_what_names_say() -> None:
    text = """
name: w
inputs:
  topic: {type: str}
steps:
  - payload:
      name: outline
      blocks: ["Outline {{ topic }}"]
  - name: talk
    payload: {name: any, blocks: ["{{ outline }}"]}
    when: outline != ""
"""
    definition = from_yaml(text)
    assert [step.name for step in definition.steps] == ["outline", "talk"]
    assert dict(definition.step("talk").bindings) == {"outline": Ref("outline")}
    assert definition.output == Ref("talk")


def test_a_document_is_fresh_each_time() -> None:
    definition = everything().freeze()
    to_document(definition)["steps"].clear()
    assert len(to_document(definition)["steps"]) == 6


# Bindings ------------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b-c", "d_e"])
keys = st.one_of(
    st.text(max_size=6), st.sampled_from(["from", "each", "n", "first_n", "dict", "literal", "default", "optional"])
)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
refs = st.builds(
    lambda source, path: Ref[Any](source, tuple(path)), names, st.lists(keys | st.integers(-9, 9), max_size=3)
)
choices = st.builds(lambda r: FirstOf(tuple(r)), st.lists(refs, min_size=1, max_size=3)) | st.builds(
    lambda r, rest: FirstN(tuple(r), 1, rest), st.lists(refs, min_size=1, max_size=3), st.booleans()
)
simple: st.SearchStrategy[Any] = refs | choices | st.builds(OptionalBinding, refs | choices, data)


def _has_reference(binding: Binding) -> bool:
    return not isinstance(binding, LiteralBinding)


composed = st.recursive(
    simple | st.builds(LiteralBinding, data),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        .filter(lambda items: any(map(_has_reference, items)))
        .map(lambda i: ListOf(tuple(i)))
        | st.dictionaries(keys, inner, min_size=1, max_size=3)
        .filter(lambda items: any(map(_has_reference, items.values())))
        .map(lambda i: DictOf(tuple(i.items())))
    ),
    max_leaves=6,
)
bindings = composed | st.builds(Each, simple)


@given(bindings)
def test_every_binding_reads_back_as_itself(binding: Binding) -> None:
    reader = Reader({})
    assert binding_from(reader, binding_to(binding), "x") == binding
    assert reader.faults == []


@pytest.mark.parametrize(
    "literal", [{"from": "me@x", "to": "you"}, {"form": "a"}, {"each": 1, "of": 2}, {"n": 1}, ["from"], "from"]
)
def test_what_is_not_exactly_a_form_is_a_literal(literal: Any) -> None:
    assert binding_from(Reader({}), literal, "x") == LiteralBinding(literal)
    assert binding_to(LiteralBinding(literal)) == literal


@pytest.mark.parametrize("literal", [{"from": "a"}, [{"each": "b"}], {"x": {"literal": 1}}, {"first_n": 1, "n": 2}])
def test_a_literal_that_looks_like_a_form_is_marked(literal: Any) -> None:
    assert binding_to(LiteralBinding(literal)) == {"literal": literal}


@pytest.mark.parametrize(
    "text", ["", "A", "1", "a.", "a..b", "a[", "a[x]", "a b", "a['x']", 'a["x]', "a[0", "a.b c", "{{ a }}"]
)
def test_text_that_is_no_reference_is_a_fault(text: str) -> None:
    only(faults_of(doc_of(asking("a", "{{ x }}", bind={"x": {"from": text}}), output={"from": "a"}))[:1], "a")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"first_of": []}, "names no steps"),
        ({"first_of": "a"}, "list belongs"),
        ({"first_n": ["a"]}, "needs n"),
        ({"first_n": ["a"], "n": "2"}, "whole number"),
        ({"optional": 3}, "takes a reference"),
        ({"each": {"x": 1}}, "takes a reference or a list"),
        ({"each": "a"}, "only wf.map() takes"),
        ([{"each": "a"}], "stands alone"),
        ({"template": "{{ a"}, "template"),
        ({"template": "{{ drafd }}"}, "did you mean 'draft'"),
        ({"from": 3}, "text belongs"),
    ],
)
def test_a_form_with_the_wrong_content_is_a_fault_with_its_place(form: Any, words: str) -> None:
    document = doc_of(asking("draft"), asking("a", "{{ x }}", bind={"x": form}), output={"from": "draft"})
    found = faults_of(document)
    assert any(words in fault and ("bind.x" in fault or "'x'" in fault) for fault in found), found


def test_a_template_binding_reads_steps_and_inputs_by_their_template_names() -> None:
    document = doc_of(
        asking("first-draft"),
        asking("end", "{{ x }}", bind={"x": {"template": "<{{ first_draft }} {{ tone }}>"}}),
        inputs={"tone": {}},
    )
    definition = from_document(document)
    assert definition.step("end").bindings["x"] == Filled(
        "<{{ first_draft }} {{ tone }}>", (("first_draft", Ref("first-draft")), ("tone", Ref("tone")))
    )
    assert to_document(definition)["steps"][1]["bind"] == {"x": {"template": "<{{ first_draft }} {{ tone }}>"}}


def test_a_template_binding_beside_a_nested_workflow_reads_the_outer_names() -> None:
    inner = doc_of(asking("inside", "{{ text }}"), inputs={"text": {}})
    document = doc_of(
        {"name": "sub", "workflow": inner, "bind": {"text": {"template": "{{ tone }}"}}}, inputs={"tone": {}}
    )
    assert from_document(document).step("sub").bindings["text"] == Filled("{{ tone }}", (("tone", Ref("tone")),))


# Types ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (str, "str"),
        (int, "int"),
        (float, "float"),
        (bool, "bool"),
        (list, "list"),
        (dict, "dict"),
        (Any, "any"),
        (list[str], {"list": "str"}),
        (dict[str, list[int]], {"dict": {"list": "int"}}),
        (str | None, {"union": ["str", "null"]}),
        (
            Optional[int],  # noqa: UP045  # the old spelling is a type of its own
            {"union": ["int", "null"]},
        ),
        (Literal["a", 1, True, None], {"literal": ["a", 1, True, None]}),
        (Facts, {"python": f"{__name__}:Facts"}),
        (list[Facts | Mood], {"list": {"union": [{"python": f"{__name__}:Facts"}, {"python": f"{__name__}:Mood"}]}}),
    ],
)
def test_a_type_reads_back_as_itself(kind: Any, written: Any) -> None:
    reader = Reader(CODE)
    assert type_to(kind) == written
    assert type_from(reader, written, "t") == kind
    assert reader.faults == []


@pytest.mark.parametrize(
    "kind", [set[str], tuple[int, str], Annotated[int, Field(ge=1)], {"type": "object", "properties": {}}]
)
def test_other_types_become_their_json_schema_and_stay_it(kind: Any) -> None:
    written = type_to(kind)
    assert set(written) == {"schema"}
    assert type_to(type_from(Reader({}), written, "t")) == written


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("strng", "did you mean 'str'"),
        (3, "mapping belongs"),
        ({}, "exactly one of"),
        ({"list": "str", "dict": "str"}, "exactly one of"),
        ({"lst": "str"}, "did you mean 'list'"),
        ({"literal": []}, "literal takes"),
        ({"literal": [1.5]}, "literal takes"),
        ({"union": "str"}, "list belongs"),
        ({"python": 3}, "text belongs"),
    ],
)
def test_what_is_no_type_is_a_fault(written: Any, words: str) -> None:
    found = faults_of(doc_of(asking("a"), inputs={"x": {"type": written}}))
    assert any(words in fault and "inputs.x.type" in fault for fault in found), found


# Faults --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (doc_of(asking("a"), stepz=[]), ["unknown key 'stepz'", "did you mean 'steps'"]),
        (doc_of(asking("a", wen="x")), ["steps[0]", "'wen'", "'when'"]),
        (doc_of({"name": "a", "payload": {"name": "a", "modle": "x"}}), ["steps[0].payload", "'modle'", "'model'"]),
        (
            doc_of({"name": "a", "payload": {"name": "a", "blocks": [{"name": "b", "txt": "x"}]}}),
            ["blocks[0]", "'txt'", "'text'"],
        ),
        (doc_of({"name": "a", "payload": {"name": "a", "retry": {"attempt": 2}}}), ["retry", "'attempts'"]),
        (doc_of({"name": "a", "payload": {"name": "a", "temperature": "hot"}}), ["payload.temperature"]),
        (doc_of({"name": "a", "payload": {"name": "a", "blocks": ["{{ x"]}}), ["blocks[0]", "line 1"]),
        (doc_of({"name": "a", "payload": {"name": "a", "blocks": "text"}}), ["blocks", "list belongs"]),
        (
            doc_of({"name": "a", "payload": {"name": "a", "history": [{"role": "boss", "content": ""}]}}),
            ["history[0].role"],
        ),
        (doc_of({"name": "a"}), ["exactly one of payload, function, workflow", "none"]),
        (doc_of(asking("a", function={"python": "x:y"})), ["payload and function"]),
        (doc_of({"payload": {"name": 3}}), ["text belongs"]),
        (doc_of(asking("a", on_error="ignore")), ["on_error", "'fail' or 'skip'"]),
        (doc_of(asking("a", on_error={"defalt": 1})), ["on_error"]),
        (doc_of(asking("a", timeout="1m")), ["timeout", "number"]),
        (doc_of(asking("a", map={"concurency": 1})), ["'concurrency'"]),
        (doc_of(asking("a", after="b")), ["after", "list belongs"]),
        (doc_of(asking("a", when=3)), ["when", "mapping belongs"]),
        (doc_of(asking("a"), inputs={"x": {"typ": "str"}}), ["inputs.x", "'type'"]),
        (doc_of(asking("a"), inputs=[]), ["inputs", "mapping belongs"]),
        (doc_of("a"), ["steps[0]", "mapping belongs"]),
        ({"name": "w"}, ["'steps' must be given"]),
        ({"steps": []}, ["'name' must be given"]),
        (doc_of(), ["has no steps"]),
        (doc_of(asking("a", "{{ topic }}")), ["'topic' is read, but is no step or input"]),
        (doc_of({"name": "n", "workflow": doc_of(asking("a", "{{ topic }}"))}), ["steps[0].workflow", "'topic'"]),
        (doc_of({"name": "n", "workflow": {"name": "i", "llmorch": 1, "steps": []}}), ["unknown key 'llmorch'"]),
        ({"llmorch": 2, "name": "w", "steps": []}, ["format 2"]),
        ("text", ["mapping belongs"]),
        (None, ["mapping belongs"]),
        ({"name": "w", "steps": float("nan")}, ["nan"]),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_place(document: Any, words: list[str]) -> None:
    text = "\n".join(faults_of(document))
    for word in words:
        assert word in text, text


def test_all_faults_of_a_document_are_found_at_once() -> None:
    found = faults_of(doc_of(asking("a", wen=1), {"name": "b"}, asking("c", timeout="x"), extra=1))
    assert len(found) == 4


def test_nesting_and_size_have_bounds() -> None:
    document = doc_of(asking("a"))
    for _ in range(16):
        document = doc_of({"name": "n", "workflow": document})
    assert any("nested more than 16" in fault for fault in faults_of(document))
    with pytest.raises(WorkflowInvalid, match="3 steps; at most 2"):
        from_yaml("name: w\nsteps: [{}, {workflow: {steps: [{}]}}]", max_steps=2)


def test_text_that_is_no_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(WorkflowInvalid, match="line 2"):
        from_yaml("name: w\nsteps: [")


# Code ----------------------------------------------------------------------------------------------------------------


def test_missing_code_is_named_and_nothing_is_imported() -> None:
    document = doc_of(
        {"name": "a", "function": {"python": "antigravity:fly"}},
        {"name": "b", "payload": {"name": "b", "blocks": ["{{ a }}"], "output": {"python": "this:Zen"}}},
    )
    with pytest.raises(CodeMissing, match="antigravity:fly, this:Zen"):
        from_document(document)
    assert not {"antigravity", "this"} & set(sys.modules)


def test_faults_come_before_missing_code() -> None:
    document = doc_of({"name": "a", "function": {"python": "gone:away"}, "tiemout": 1})
    assert any("'timeout'" in fault for fault in faults_of(document))


def test_code_that_is_no_function_is_a_fault() -> None:
    with pytest.raises(WorkflowInvalid, match="not a function"):
        from_document(doc_of({"name": "a", "function": {"python": "x:y"}}), code={"x:y": 3})


def test_lambdas_closures_and_local_types_are_not_portable() -> None:
    class Local(BaseModel):
        x: int

    assert is_portable(everything().freeze())
    for wf in (Workflow("a"), Workflow("b"), Workflow("c"), Workflow("d")):
        match wf.name:
            case "a":
                wf.add(lambda: 1, name="f")
            case "b":
                wf.add(Payload("p", "x", output=Local))
            case "c":
                wf.add(Payload("p", "{{ x }}"))
                wf.input("x", list[Local])
            case _:
                inner = Workflow("inner")
                inner.add(lambda: 1, name="f")
                wf.add(inner, name="sub")
        assert not is_portable(wf.freeze()), wf.name
        assert len(list(unportable(wf.freeze()))) == 1


def test_the_sha_follows_the_document() -> None:
    def of(text: str) -> str:
        return definition_sha(Workflow.of(Payload("a", text, model="a:m"), name="w").freeze())

    assert of("x") == of("x") != of("y")


# Anything at all -----------------------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "name",
        "steps",
        "inputs",
        "output",
        "payload",
        "function",
        "workflow",
        "bind",
        "when",
        "after",
        "map",
        "blocks",
        "from",
        "each",
        "type",
        "python",
        "literal",
        "on_error",
        "default",
        "text",
        "role",
        "history",
        "retry",
        "a",
        "b",
    ],
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | words | st.just("{{ a }}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)


@given(anything, anything, anything)
def test_whatever_a_document_holds_it_is_a_workflow_or_a_typed_error(step: Any, inputs: Any, output: Any) -> None:
    for document in (
        step,
        {"name": "w", "steps": [step], "inputs": inputs, "output": output},
        {"name": "w", "steps": [asking("a"), step]},
    ):
        with contextlib.suppress(LLMOrchError):
            assert isinstance(from_document(document), WorkflowDef)
