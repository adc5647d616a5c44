"""Loops and dispatch in a definition: how they are wired, written, stored, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    CodeMissing,
    Default,
    LoopTurned,
    Node,
    Orchestrator,
    Payload,
    Question,
    Script,
    Workflow,
    WorkflowInvalid,
)
from llmorch._json import dumps
from llmorch.definition.actions import CHOICE, DispatchAction, LoopAction
from llmorch.definition.document import from_document, is_portable, to_document, unportable
from llmorch.definition.fingerprint import code_of
from llmorch.definition.node import refs_in
from llmorch.definition.stored import changed, rebuilt, stored
from llmorch.definition.workflow import WorkflowDef
from llmorch.stores.memory import MemoryStore
from llmorch.testing import ScriptedProvider
from tests.flow.stage import one


class Review(BaseModel):
    verdict: Literal["fine", "poor"]
    fix: str


def good(output: dict[str, Any]) -> bool:
    return output["review"]["verdict"] == "fine"


def fix_of(output: dict[str, Any]) -> str:
    return str(output["review"]["fix"])


def enough(output: Any, iteration: int) -> bool:
    return iteration > 3


def add_one(n: int) -> int:
    return n + 1


def text_of(n: int) -> str:
    return str(n)


CODE = [Review, good, fix_of, enough, add_one, text_of]


def refine() -> Workflow[Any]:
    wf = Workflow("refine")
    wf.input("fix", str, default="nothing")
    draft = wf.add(Payload("draft", "Write about {{ topic }}. Fix: {{ fix }}"))
    review = wf.add(Payload("review", "Judge:\n{{ draft }}", output=Review))
    return wf.returns({"draft": draft, "review": review})


def everything() -> Workflow[Any]:
    """Every kind of action that holds or is held by others."""
    wf = Workflow("all")
    topic = wf.input("topic", str)
    kind = wf.input("kind", str, default="long")
    text = wf.loop(
        refine(), until=good, max_iterations=4, carry={"fix": fix_of}, on_exhausted="fail", topic=topic, timeout=60,
        on_error=Default({"draft": ""}), when="topic != ''",
    )  # fmt: skip
    counted = wf.loop(
        add_one, name="count", until="output > 3", max_iterations=9, carry={"n": "output + inputs.n"}, n=1
    )
    among: dict[str, Any] = {
        "long": refine(),
        "Short one": Payload("line", "One line on {{ topic }} {{ n }}", model="a:m"),
        "code": add_one,
        "script": Script("count-words", parameters={"by": "line"}, timeout=5),
        "person": Question("Write about {{ topic }}", answer=Literal["a", "b"]),
    }
    one_of = wf.dispatch(kind, among=among, name="write", n=counted, on_error="skip", extra=[topic])
    last = wf.dispatch("'yes' if n_text == '3' else topic | upper", among={"yes": add_one}, otherwise=Payload(
        "say", "{{ topic }}"), name="last", n=counted)  # fmt: skip
    wf.add(text_of, name="n-text", n=counted)
    asked = wf.ask("ok", "Is {{ write }} good?", answer=bool, timeout=3600)
    ran = wf.add(Script("count-words", env=("HOME",), pure=True), input=one_of, other=text["draft"])
    wf.loop(Question("More than {{ n }}?", answer=int, name="more"), until="output < 1", max_iterations=3,
            carry={"n": "output"}, n=counted)  # fmt: skip
    return wf.returns([text, one_of, last, asked, ran, Node("more"), Node("n-text")])


def faults(wf: Workflow[Any]) -> tuple[str, ...]:
    return wf.draft()[1]


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def loop_of(**options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    wf.loop(add_one, name="up", **{"until": "output > 3", "max_iterations": 3, "carry": {"n": "output"}, **options})
    return wf


def dispatch_of(choice: Any = "way", among: Any = None, **options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    wf.input("way")
    wf.dispatch(choice, among={"a": add_one, "b": Payload("p", "{{ n }}")} if among is None else among, name="pick",
                **options)  # fmt: skip
    return wf


# Wired ---------------------------------------------------------------------------------------------------------------


def test_a_sound_loop_and_dispatch_have_no_faults() -> None:
    assert faults(loop_of()) == faults(dispatch_of()) == faults(everything()) == ()
    assert list(loop_of().inputs) == ["n"]
    assert list(dispatch_of().inputs) == ["way", "n"]


@pytest.mark.parametrize("where", ["until", "carry"])
def test_an_unknown_name_in_a_rule_is_a_fault_that_knows_the_nearest(where: str) -> None:
    for rule, words in (
        ("outptu > 3", ("'outptu'", "did you mean 'output'?")),
        ("draft > 3", ("'draft'", "there are output, inputs, iteration")),
        (lambda outputs: 1, ("<lambda>", "'outputs'", "did you mean 'output'?")),
        ("output >", ("line 1",)),
    ):
        options: dict[str, Any] = {"until": rule} if where == "until" else {"carry": {"n": rule}}
        only(faults(loop_of(**options)), "Step 'up': " + where, *words)


def test_a_rule_may_have_parameters_of_its_own_with_defaults() -> None:
    assert faults(loop_of(until=lambda output, limit=3: output > limit)) == ()


def test_carrying_what_the_body_does_not_read_is_a_fault() -> None:
    only(faults(loop_of(carry={"m": "output", "n": "output"})), "carries 'm'", "it reads 'n'")
    wf = Workflow("w")
    wf.loop(Payload("p", "{{ feedback }}"), until="true", max_iterations=2, carry={"feedbakc": "output"})
    only(faults(wf), "carries 'feedbakc'", "did you mean 'feedback'?")


def test_a_loop_in_which_nothing_changes_is_a_fault() -> None:
    for carry in (None, {}, {"n": "inputs.n"}, {"n": " inputs['n'] "}):
        only(faults(loop_of(carry=carry)), "nothing changes from one iteration to the next")
    assert faults(loop_of(carry=None, max_iterations=1)) == ()
    assert faults(loop_of(carry={"n": "inputs.n + 1"})) == ()
    assert faults(loop_of(carry={"n": "iteration"})) == ()


def test_max_iterations_is_one_or_more() -> None:
    for most in (0, -1):
        only(faults(loop_of(max_iterations=most)), f"max_iterations={most}", "1 or more")
    for most in ("3", 2.5, True):
        with pytest.raises(TypeError, match="a whole number"):
            loop_of(max_iterations=most)


@pytest.mark.parametrize("key", ["", "a/b", "a[0]", "b@1", "what?", "x" * 101, "tab\there"])
def test_a_key_that_cannot_stand_in_a_path_is_a_fault(key: str) -> None:
    only(faults(dispatch_of(among={key: add_one})), "cannot stand in a path")


def test_a_dispatch_among_nothing_is_a_fault() -> None:
    found = faults(dispatch_of(among={}))
    assert any("nothing to choose among" in fault for fault in found)


def test_a_branch_named_otherwise_beside_otherwise_is_a_fault() -> None:
    found = faults(dispatch_of(among={"otherwise": add_one}, otherwise=one))
    assert any("rename the branch" in fault for fault in found)
    assert faults(dispatch_of(among={"otherwise": add_one})) == ()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("wya", ("choice reads 'wya'", "did you mean 'way'?")),
        ("nobody", ("choice reads 'nobody'", "declare it")),
        ("way ==", ("its choice",)),
    ],
)
def test_a_choice_reads_only_what_is_there(choice: str, words: tuple[str, ...]) -> None:
    only(faults(dispatch_of(choice)), "Step 'pick'", *words)


def test_a_choice_by_reference_is_checked_like_a_binding() -> None:
    other = Workflow("other").input("x")
    found = faults(dispatch_of(other))
    assert any("another workflow" in fault for fault in found)


def test_a_binding_that_no_branch_reads_is_a_fault() -> None:
    only(faults(dispatch_of(m=1)), "is given 'm'", "it reads 'n'")
    only(faults(loop_of(nn=1)), "is given 'nn'", "did you mean 'n'?")


def test_an_input_that_two_branches_want_in_different_types_takes_anything() -> None:
    def of_text(n: str) -> str:
        return n

    same = dispatch_of(among={"a": add_one, "b": add_one})
    mixed = dispatch_of(among={"a": add_one, "b": of_text})
    assert same.inputs["n"].type is int
    assert mixed.inputs["n"].type is Any


def test_a_loop_or_dispatch_stands_in_another_only_inside_a_workflow() -> None:
    wf = Workflow("outer")
    wf.loop(loop_of(), until="output > 9", max_iterations=3, carry={"n": "output"})
    wf.dispatch("'a'", among={"a": loop_of(), "b": dispatch_of()}, way="b", name="pick")
    assert faults(wf.returns([])) == ()
    loop = loop_of().freeze().steps[0].action
    dispatch = dispatch_of().freeze().steps[0].action
    for inner in (loop, dispatch):
        for outer in (LoopAction(inner, "true", 1), DispatchAction((("a", inner),))):
            draft = Workflow("w")
            draft.add(add_one, name="x")
            draft._draft.steps[0].action = outer
            assert any("put that into a workflow of its own" in fault for fault in faults(draft)), outer


def test_the_branches_of_a_dispatch_are_the_steps_of_a_workflow() -> None:
    action = dispatch_of(otherwise=one).freeze().steps[0].action
    assert isinstance(action, DispatchAction)
    assert [step.name for step in action.inner.steps] == ["a", "b", "otherwise"]
    assert list(action.inner.inputs) == [CHOICE, "?n"]


def test_a_copy_with_another_block_or_action_reaches_into_loops_and_branches() -> None:
    voice = Block("voice", "Be brief.", role="system")
    wf = Workflow("w")
    say = Payload("say", voice, "{{ n }}")
    wf.loop(say, until="true", max_iterations=2, carry={"n": "output"})
    wf.dispatch("'a'", among={"a": say}, name="pick", n=1)
    wf.returns([])
    changed_text = json.dumps(wf.with_block(Block("voice", "Be long.", role="system")).to_dict())
    assert changed_text.count("Be long.") == 2
    assert "Be brief." not in changed_text
    assert list(wf.replace("say", Payload("say", "{{ n }} {{ more }}")).inputs) == ["more", "n"]


# Documents -----------------------------------------------------------------------------------------------------------


def test_a_document_says_what_is_repeated_and_among_what_is_chosen() -> None:
    steps = {step["name"]: step for step in to_document(everything().freeze())["steps"]}
    assert steps["count"]["loop"] == {
        "function": {"python": f"{__name__}:add_one"},
        "until": "output > 3",
        "max_iterations": 9,
        "carry": {"n": "output + inputs.n"},
    }
    assert list(steps["refine"]["loop"]) == ["workflow", "until", "max_iterations", "carry", "on_exhausted"]
    assert steps["refine"]["loop"]["until"] == {"python": f"{__name__}:good"}
    assert steps["write"]["dispatch"]["choice"] == {"from": "kind"}
    assert list(steps["write"]["dispatch"]["among"]) == ["long", "Short one", "code", "script", "person"]
    assert steps["write"]["dispatch"]["among"]["script"] == {
        "script": {"path_or_name": "count-words", "parameters": {"by": "line"}, "timeout": 5}
    }
    assert steps["last"]["dispatch"]["choice"] == "'yes' if n_text == '3' else topic | upper"
    assert list(steps["last"]["dispatch"]) == ["choice", "among", "otherwise"]
    assert steps["ok"]["question"] == {"text": "Is {{ write }} good?", "answer": "bool", "name": "ok"}


def test_documents_survive_yaml_and_json() -> None:
    document = to_document(everything().freeze())
    again = Workflow.from_dict(json.loads(json.dumps(document)), code=CODE)
    assert to_document(again.freeze()) == document
    read = Workflow.from_yaml(everything().to_yaml(), code=CODE)
    assert read.to_dict() == everything().to_dict()
    assert read.draft()[1] == ()


def test_a_file_is_saved_and_loaded(tmp_path: Path) -> None:
    for name in ("all.yaml", "all.json"):
        everything().save(tmp_path / name)
        assert Workflow.load(tmp_path / name, code=CODE).to_dict() == everything().to_dict()


def test_code_that_a_file_names_is_named_when_it_is_not_handed_in() -> None:
    document = everything().to_dict()
    for missing in (good, fix_of, add_one):
        with pytest.raises(CodeMissing, match=missing.__name__):
            Workflow.from_dict(document, code=[part for part in CODE if part is not missing])


def test_a_short_file_leaves_out_what_goes_without_saying() -> None:
    wf = Workflow.from_yaml("""
        llmorch: 1
        name: short
        inputs: {topic: {}, kind: {}}
        steps:
          - loop:
              payload: {name: draft, blocks: ["Write on {{ topic }}. {{ last }}"]}
              until: output | length > 3
              max_iterations: 3
              carry: {last: output}
            bind: {last: ""}
          - name: pick
            dispatch:
              choice: kind
              among:
                a: {payload: {name: p, blocks: ["{{ draft }}"]}}
              otherwise: {payload: {name: q, blocks: ["{{ draft }} {{ topic }}"]}}
        """)
    assert wf.draft()[1] == ()
    assert [step.name for step in wf.freeze().steps] == ["draft", "pick"]
    assert list(wf.freeze().step("pick").bindings) == ["draft", "topic", CHOICE]
    assert [ref.source for ref in refs_in(wf.freeze().step("pick").bindings[CHOICE])] == ["kind"]


BODY = {"payload": {"name": "p", "blocks": ["{{ x }}"]}}


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"loop": {**BODY, "max_iterations": 2}}, "until"),
        ({"loop": {**BODY, "until": "true"}}, "max_iterations"),
        ({"loop": {"until": "true", "max_iterations": 2}}, "exactly one of"),
        ({"loop": {**BODY, "until": "true", "max_iterations": "2"}}, "max_iterations"),
        ({"loop": {**BODY, "until": 3, "max_iterations": 2}}, "until"),
        ({"loop": {**BODY, "until": "true", "max_iterations": 2, "carry": ["x"]}}, "carry"),
        ({"loop": {**BODY, "until": "true", "max_iterations": 2, "on_exhausted": "stop"}}, "on_exhausted"),
        ({"loop": {"loop": {}, "until": "true", "max_iterations": 2}}, "loop"),
        ({"loop": {**BODY, "until": "true", "max_iteration": 2}}, "max_iterations"),
        ({"dispatch": {"among": {"a": BODY}}}, "choice"),
        ({"dispatch": {"choice": "x"}}, "among"),
        ({"dispatch": {"choice": "x", "among": [BODY]}}, "among"),
        ({"dispatch": {"choice": "x", "among": {"a": {}}}}, "among.a"),
        ({"dispatch": {"choice": "x", "among": {"a": {"dispatch": {}}}}}, "among.a"),
        ({"dispatch": {"choice": "x", "among": {"a": BODY}, "otherwise": {"payload": 3}}}, "otherwise"),
        ({"dispatch": {"choice": "x", "amogn": {"a": BODY}}}, "among"),
        ({"script": {"parameters": {}}}, "path_or_name"),
        ({"script": {"path_or_name": "s", "timeout": "soon"}}, "timeout"),
        ({"question": {"answer": "bool"}}, "text"),
        ({"question": {"text": "{{ x"}}, "question"),
    ],
)
def test_what_is_wrong_in_a_document_is_named_with_its_place(action: dict[str, Any], words: str) -> None:
    document = {"name": "w", "inputs": {"x": {}}, "steps": [{"name": "s", **action}]}
    with pytest.raises(WorkflowInvalid) as caught:
        from_document(document)
    assert any(words in fault and "steps" in fault for fault in caught.value.faults), caught.value.faults


def test_a_lambda_as_a_rule_is_not_portable_and_cannot_be_saved() -> None:
    wf = loop_of(until=lambda output: output > 3)
    assert not is_portable(wf.freeze())
    assert any("up" in fault for fault in unportable(wf.freeze()))
    assert not wf.plan().portable
    with pytest.raises(WorkflowInvalid, match="up"):
        wf.to_yaml()
    assert is_portable(loop_of(until=enough).freeze())
    assert not is_portable(dispatch_of(among={"a": lambda: 1}).freeze())


# Stored --------------------------------------------------------------------------------------------------------------


def kept(definition: WorkflowDef) -> tuple[str, Any]:
    sha, body = stored(definition)
    return sha, json.loads(dumps(body))


def later() -> Workflow[Any]:
    """A later version of everything: the same steps with one more, and another description."""
    wf = everything()
    newer: Workflow[Any] = Workflow("all", description="later")
    newer._draft = wf._draft
    newer._draft.description = "later"
    newer.add(Payload("added", "x"))
    return newer


def other_name() -> Workflow[Any]:
    wf = everything()
    return Workflow.of(wf, name="elsewhere")


@pytest.mark.parametrize("known", [everything, later, other_name])
def test_a_stored_definition_is_found_again(known: Callable[[], Workflow[Any]]) -> None:
    definition = everything().freeze()
    sha, body = kept(definition)
    made = rebuilt(body, [known().freeze()], sha=sha)
    assert stored(made)[0] == sha
    assert to_document(made) == to_document(definition)
    assert code_of(made) == code_of(definition)
    assert changed(body, made) == []
    action = made.step("refine").action
    assert isinstance(action, LoopAction)
    assert [rule.function for rule in action.rules if not isinstance(rule, str)] == [good, fix_of]  # type: ignore[union-attr]
    write = made.step("write").action
    assert isinstance(write, DispatchAction)
    assert [step.name for step in write.inner.steps] == [key for key, _ in write.branches]


def test_without_its_code_a_stored_definition_names_all_that_is_missing() -> None:
    definition = everything().freeze()
    sha, body = kept(definition)
    with pytest.raises(CodeMissing) as caught:
        rebuilt(body, [], sha=sha)
    for name in ("good", "fix_of", "add_one", "text_of", "Review"):
        assert f"{__name__}:{name}" in str(caught.value)


def test_without_its_code_a_stored_definition_can_be_read() -> None:
    definition = everything().freeze()
    sha, body = kept(definition)
    made = rebuilt(body, [], sha=sha, needs_code=False)
    assert [step.name for step in made.steps] == [step.name for step in definition.steps]
    assert list(made.step("write").bindings) == list(definition.step("write").bindings)


def test_a_rule_whose_code_has_changed_is_told() -> None:
    def until(output: int) -> bool:
        return output > 3

    before = loop_of(until=until).freeze()
    _, body = kept(before)

    def again(output: int) -> bool:
        return output > 4

    again.__qualname__ = until.__qualname__
    made = rebuilt(body, [loop_of(until=again).freeze()])
    assert changed(body, made) == ["up"]


def test_whatever_decides_a_loop_or_dispatch_is_part_of_the_sha() -> None:
    made = [
        *(loop_of(**options) for options in (
            {}, {"until": "output > 4"}, {"until": enough}, {"max_iterations": 4}, {"on_exhausted": "fail"},
            {"carry": {"n": "output + 1"}}, {"carry": {"n": fix_of}},
        )),
        *(dispatch_of(**options) for options in (
            {}, {"choice": "way | upper"}, {"otherwise": one}, {"among": {"b": add_one}}, {"among": {"a": add_one}},
            {"among": {"b": Payload("p", "{{ n }}"), "a": add_one}},
        )),
    ]  # fmt: skip
    shas = [stored(wf.freeze())[0] for wf in made]
    assert len(set(shas)) == len(shas)


SCRIPT = {"draft": ["d0", "d1"], "review": [{"verdict": "poor", "fix": "more"}, {"verdict": "fine", "fix": ""}]}


def looping() -> Workflow[Any]:
    wf = Workflow("looping")
    return wf.returns(wf.loop(refine(), until=good, max_iterations=4, carry={"fix": fix_of}))


@pytest.mark.anyio
async def test_rules_are_found_again_among_registered_workflows_and_missed_by_name() -> None:
    store = MemoryStore()
    async with Orchestrator(store, providers=[ScriptedProvider(SCRIPT)], model="scripted:m") as orch:
        run = await orch.run(looping(), topic="tea")
        assert run.output["draft"] == "d1"
        row, log = await store.load(run.id), await store.events(run.id, limit=1000)
        sha, body = kept(looping().freeze())
    cut = next(index for index, event in enumerate(log) if isinstance(event, LoopTurned))
    for workflows in ([], [looping()]):
        left = MemoryStore()
        row = replace(row, status="running", owner=None, last_seq=cut, finished_at=None, definition_sha=sha)
        await left.create(row, list(log[:cut]), definition=body)
        provider = ScriptedProvider({"draft": "d1", "review": {"verdict": "fine", "fix": ""}})
        options: dict[str, Any] = {"model": "scripted:m", "workflows": workflows, "recover": False}
        async with Orchestrator(left, providers=[provider], **options) as orch:
            if not workflows:
                with pytest.raises(CodeMissing, match="good"):
                    await orch.resume(run.id)
                continue
            done = await (await orch.resume(run.id)).result()
            assert done.output["draft"] == "d1"
            assert len(provider.requests) == 2
