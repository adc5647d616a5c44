"""Workflows as documents, texts and files: saved, read back, run and changed like any other."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from llmorch import (
    Block,
    CodeMissing,
    Default,
    Message,
    Payload,
    Retry,
    Workflow,
    WorkflowInvalid,
    each,
    first_n,
    first_of,
    optional,
)

ECHO = "offline:echo"


class Facts(BaseModel):
    title: str
    claims: list[str]


def split(text: str) -> list[str]:
    return text.split()


def count(words: list[str]) -> int:
    return len(words)


def odd_only(n: int) -> int:
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n


def facts_of(text: str) -> Facts:
    return Facts(title=text.title(), claims=text.split())


CODE: list[Callable[..., Any]] = [Facts, split, count, odd_only, facts_of]


def say(name: str, *blocks: str | Block, **fields: Any) -> Payload[Any]:
    return Payload(name, *blocks, **{"model": ECHO, **fields})


# Shapes: each is a workflow, with inputs it can be run on ------------------------------------------------------------


def chain() -> Workflow[Any]:
    return Workflow.of(
        say("outline", "Outline {{ topic }}."), say("talk", "Talk: {{ outline }}"), name="chain of 'two': é"
    )


def diamond() -> Workflow[Any]:
    wf = Workflow("diamond", description="two ways\nto one end", on_error="skip")
    wf.input("text", str, description="what is read", untrusted=True)
    wf.input("tone", str, default="dry")
    left = wf.add(say("left", Block("voice", "Be {{ tone }}.", role="system", tags=["a"]), "{{ text }}"))
    right = wf.add(say("right", "{{ text }} {{ mood }}"), mood="no", timeout=30, on_unknown="fail")
    return wf.returns({"both": [left, right], "kept-as-is": "on", "left": left})


def mapped() -> Workflow[Any]:
    inner = Workflow("shout", on_error="skip")
    inner.input("word-in", str)
    inner.add(say("loud", "{{ word_in }}!"))
    wf = Workflow("mapped")
    words = wf.add(split)
    shouts = wf.map(inner, name="all-shouts", bind={"word-in": each(words)}, concurrency=2)
    pairs = wf.map(say("pair", "{{ a }}-{{ b }}{{ end }}"), a=each(words), b=each(["x", "y"]), end=".")
    wf.add(count, words=words, name="how-many", after=[shouts])
    wf.add(say("end", "{{ all_shouts }} {{ pair }} {{ how_many }}"))
    return wf.returns({"end": wf.add(count, name="pairs", words=pairs), "last": shouts[-1]})


def conditions() -> Workflow[Any]:
    wf = Workflow("conditions")
    text = wf.input("text", str)
    quick = wf.add(say("quick", "{{ text }}"), when="text | length < 5")
    slow = wf.add(say("slow-one", "{{ text }}"), when="text | length >= limit", limit=5)
    by_ref = wf.add(say("by-ref", "{{ text }}"), when=text)
    either = wf.add(say("either", "{{ x }}"), x=first_of(quick, slow))
    maybe = wf.add(say("maybe", "{{ x }} {{ y }}"), x=optional(quick, default={"from": "no"}), y=optional(slow))
    return wf.returns([either, maybe, by_ref, optional(quick, default="none"), first_of(slow, quick)])


def quorum() -> Workflow[Any]:
    wf = Workflow("quorum", on_error="skip")
    votes = [wf.add(odd_only, name=f"vote-{n}", n=n) for n in range(1, 5)]
    defaulted = wf.add(odd_only, name="defaulted", n=2, on_error=Default({"from": "vote-1", "n": [1]}))
    mapped = wf.map(odd_only, name="mapped", n=each([1, 2, 3]), on_error=Default(None))
    return wf.returns({"some": first_n(votes, 2, cancel_rest=True), "default": defaulted, "mapped": mapped})


def typed() -> Workflow[Any]:
    wf = Workflow("typed")
    wf.input("text", str)
    facts = wf.add(facts_of)
    wf.add(count, words=facts["claims"])
    wf.add(say("title", "{{ t }} {{ first }}"), t=facts.pick(lambda f: f.title), first=facts["claims"][0])
    return wf.returns([facts, wf.add(say("all", "{{ facts_of.title }} {{ count }} {{ title }}"))])


def nested() -> Workflow[Any]:
    inmost = Workflow.of(say("deep", "{{ text }}"), name="inmost")
    inner = Workflow.of(inmost, say("after", "{{ inmost }}"), name="inner")
    return Workflow.of(say("text", "about {{ topic }}"), inner, name="outer")


SHAPES: dict[str, tuple[Callable[[], Workflow[Any]], dict[str, Any]]] = {
    "chain": (chain, {"topic": "tea"}),
    "diamond": (diamond, {"text": "hi", "mood": "x"}),
    "mapped": (mapped, {"text": "ebb flood"}),
    "conditions": (conditions, {"text": "rather long"}),
    "quorum": (quorum, {}),
    "typed": (typed, {"text": "tea is hot"}),
    "nested": (nested, {"topic": "rain"}),
}


def asked() -> Workflow[Any]:
    """Everything a payload can say; not run."""
    wf = Workflow("asked")
    wf.input("choice", Literal["a", "b"], default="a")
    wf.input("rows", list[dict[str, int]])
    wf.input("anything", Any, default=None)
    return wf.returns(
        wf.add(
            say(
                "all", "{{ rows }}\n\n  indented\n", Block("e", "x", role="assistant", defaults={"n": 1}), "{{ e }}",
                output={"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
                temperature=0, max_tokens=5, top_p=1, stop=["END", "no"], seed=7, presence_penalty=0.5,
                frequency_penalty=-1, extra={"top_k": 5, "on": "off"}, history=[Message("user", "hi")],
                output_retries=0, fallback=["a:b"], retry=Retry(2), timeout=1.5, description="d", tags=["t"],
            ),
            e="<>: # 'yes' \t ☂", after=[], on_error="fail",
        )
    )  # fmt: skip


WRITTEN = {name: make for name, (make, _) in SHAPES.items()} | {"asked": asked}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# Round trips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json", ".YAML"])
def test_a_saved_workflow_reads_back_to_the_same_text(name: str, suffix: str, folder: Path) -> None:
    wf = WRITTEN[name]()
    first, second = folder / f"first{suffix}", folder / f"second{suffix}"
    wf.save(first)
    again = Workflow.load(first, code=CODE)
    again.save(second)
    assert second.read_bytes() == first.read_bytes()
    assert again.to_dict() == wf.to_dict()
    assert again.to_yaml() == wf.to_yaml()
    assert again.name == wf.name
    assert dict(again.inputs).keys() == dict(wf.inputs).keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_dict_yaml_and_json_say_the_same(name: str) -> None:
    wf = WRITTEN[name]()
    document = wf.to_dict()
    assert Workflow.from_dict(document, code=CODE).to_dict() == document
    assert Workflow.from_dict(json.loads(json.dumps(document)), code=CODE).to_dict() == document
    assert Workflow.from_yaml(wf.to_yaml(), code=CODE).to_dict() == document


@pytest.mark.parametrize("name", SHAPES)
def test_a_workflow_that_was_read_runs_as_the_one_that_was_written(name: str) -> None:
    make, inputs = SHAPES[name]
    wf = make()
    values = {key: value for key, value in inputs.items() if key in wf.inputs}
    again = Workflow.from_yaml(wf.to_yaml(), code=CODE)
    before, after = wf.run_sync(values), again.run_sync(values)
    assert before.status in ("succeeded", "partial"), before.error
    assert (after.status, after.output) == (before.status, before.output)
    assert list(after.steps) == list(before.steps)
    assert [step.fingerprint for step in after.steps.values()] == [step.fingerprint for step in before.steps.values()]
    assert str(again.plan(values)).splitlines()[0] == str(wf.plan(values)).splitlines()[0]


def test_to_dict_is_fresh_each_time() -> None:
    wf = chain()
    wf.to_dict()["steps"].clear()
    assert len(wf.to_dict()["steps"]) == 2


# Inputs --------------------------------------------------------------------------------------------------------------


def test_implied_inputs_are_written_as_declared_ones() -> None:
    wf = chain()
    again = Workflow.from_dict(wf.to_dict())
    assert wf.inputs["topic"].implied
    assert not again.inputs["topic"].implied
    assert again.inputs["topic"].is_required


def test_a_document_implies_no_input() -> None:
    document = chain().to_dict()
    del document["inputs"]
    for step in document["steps"]:
        del step["bind"]
    with pytest.raises(WorkflowInvalid, match="'topic' is read, but is no step or input; declare it under inputs"):
        Workflow.from_dict(document)


# What is read is an ordinary workflow --------------------------------------------------------------------------------


def test_a_step_of_a_read_workflow_can_be_replaced_by_one_that_reads_something_else() -> None:
    again = Workflow.from_dict(chain().to_dict())
    changed = again.replace("talk", say("speech", "On {{ topic }}"))
    assert changed.run_sync(topic="tea").output == "On tea"
    assert again.run_sync(topic="tea").output == "Talk: Outline tea."


def test_a_block_of_a_read_workflow_can_be_changed() -> None:
    wf = Workflow.of(say("hello", Block("hi", "Hello {{ who }}")), name="w")
    changed = Workflow.from_dict(wf.to_dict()).with_block(Block("hi", "Bye {{ who }}, {{ where }}"))
    assert changed.run_sync(who="Ada", where="there").output == "Bye Ada, there"


def test_a_block_inside_a_nested_workflow_may_come_to_read_other_names() -> None:
    inner = Workflow("inner")
    inner.input("a", str)
    seen = inner.add(say("seen", Block("b", "{{ a }}")), when="a != skip", skip="nothing")
    inner.returns({"seen": seen})
    outer = Workflow.of(say("a", "{{ topic }}"), say("c", "c of {{ topic }}"), inner, name="outer")
    outer.returns(outer.add(say("end", "{{ inner.seen }}")))
    block = Block("b", "{{ a }} and {{ c }}")
    for wf in (outer, Workflow.from_dict(outer.to_dict())):
        changed = wf.with_block(block)
        assert changed.run_sync(topic="tea").output == "tea and c of tea"
        assert wf.run_sync(topic="tea").output == "tea"


def test_a_name_that_a_nested_workflow_no_longer_reads_is_no_longer_its_input() -> None:
    inner = Workflow.of(say("seen", Block("b", "{{ a }} {{ b }}")), name="inner")
    changed = Workflow.of(inner, name="outer").with_block(Block("b", "only {{ a }}"))
    assert changed.run_sync(a="x").output == "only x"
    assert list(changed.to_dict()["steps"][0]["workflow"]["inputs"]) == ["a"]


def test_steps_can_be_added_to_a_read_workflow() -> None:
    again = Workflow.from_dict(chain().to_dict())
    end = again.add(say("end", "{{ talk }} {{ sign }}"), sign="!")
    assert again.returns(end).run_sync(topic="tea").output == "Talk: Outline tea. !"


def test_a_document_without_output_gives_its_only_sink_whatever_is_added() -> None:
    document = chain().to_dict()
    del document["output"]
    again = Workflow.from_dict(document)
    assert again.run_sync(topic="tea").output == "Talk: Outline tea."
    again.add(say("end", "End: {{ talk }}"))
    assert again.run_sync(topic="tea").output == "End: Talk: Outline tea."


def test_a_read_workflow_can_be_a_step_of_another() -> None:
    outer = Workflow.of(say("topic", "{{ word }}"), Workflow.from_yaml(nested().to_yaml()), name="outmost")
    assert outer.run_sync(word="rain").output == "about rain"
    assert Workflow.from_dict(outer.to_dict()).to_dict() == outer.to_dict()


def test_references_of_another_workflow_are_refused_by_a_read_one() -> None:
    stranger = Workflow("stranger").add(say("outline", "x"))
    again = Workflow.from_dict(chain().to_dict())
    again.add(say("end", "{{ x }}"), x=stranger)
    with pytest.raises(WorkflowInvalid, match="of another workflow"):
        again.freeze()


def test_a_workflow_changed_in_python_is_saved_as_changed() -> None:
    changed = Workflow.from_dict(chain().to_dict()).replace("talk", say("speech", "On {{ topic }}"))
    changed.returns(changed.add(say("end", "{{ talk }} {{ outline }}")))
    assert Workflow.from_yaml(changed.to_yaml()).run_sync(topic="tea").output == "On tea Outline tea."


# Code ----------------------------------------------------------------------------------------------------------------


def address(thing: Callable[..., Any]) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


@pytest.mark.parametrize(
    "code", [CODE, tuple(CODE), set(CODE), {address(thing): thing for thing in CODE}, (thing for thing in CODE)]
)
def test_code_is_handed_in_as_a_mapping_or_as_the_things_themselves(code: Any) -> None:
    assert Workflow.from_dict(typed().to_dict(), code=code).run_sync(text="tea").output[0]["title"] == "Tea"


def test_an_address_may_stand_for_another_function() -> None:
    again = Workflow.from_dict(mapped().to_dict(), code={address(split): split, address(count): lambda words: 7})
    assert again.run_sync(text="ebb flood").output["end"] == 7


def test_missing_code_is_named_with_the_file_and_nothing_is_imported(folder: Path) -> None:
    step = {"name": "joke", "function": {"python": "antigravity:geohash"}}
    path = folder / "joke.json"
    path.write_text(json.dumps({"name": "w", "steps": [step]}))
    for code in (None, [], {}, [split]):
        with pytest.raises(CodeMissing, match=r"joke\.json: the document names antigravity:geohash"):
            Workflow.load(path, code=code)
    assert "antigravity" not in sys.modules


def test_two_things_of_one_address_are_refused() -> None:
    def made(n: int) -> Callable[[], int]:
        return lambda: n

    with pytest.raises(ValueError, match=r"two different things that are both .*<lambda>; pass a mapping"):
        Workflow.from_dict(chain().to_dict(), code=[made(1), made(2)])


@pytest.mark.parametrize("code", ["tests:x", 3, [3], ["tests:x"]])
def test_code_that_has_no_address_is_refused(code: Any) -> None:
    with pytest.raises(TypeError, match=r"code="):
        Workflow.from_dict(chain().to_dict(), code=code)


class Holder:
    def held(self) -> int:
        return 1


def local_code() -> list[tuple[str, Workflow[Any], str]]:
    class Local(BaseModel):
        x: int

    def closure() -> int:
        return 1

    by_main = Workflow("main")
    by_lambda, by_closure, by_method, by_type = Workflow("a"), Workflow("b"), Workflow("c"), Workflow("d")
    by_lambda.add(lambda: 1, name="first")
    by_closure.add(Workflow.of(closure, name="inner"))
    by_method.add(Holder().held)
    by_type.add(say("typed", "x", output=Local))

    def in_main() -> int:
        return 1

    in_main.__module__, in_main.__qualname__ = "__main__", "in_main"
    by_main.add(in_main, name="mine")
    return [
        ("lambda", by_lambda, r"step 'first' of 'a' runs .*<lambda>; define it at the top of a module"),
        ("closure", by_closure, r"step 'closure' of 'inner' runs .*closure; define it"),
        ("method", by_method, r"step 'held' of 'c' runs .*Holder.held; define it"),
        ("type", by_type, r"the output of step 'typed' of 'd' is no type of a module's top"),
        ("main", by_main, r"step 'mine' of 'main' runs __main__:in_main; define it"),
    ]


@pytest.mark.parametrize(("wf", "words"), [pytest.param(wf, words, id=name) for name, wf, words in local_code()])
def test_code_that_no_other_process_finds_is_refused_with_the_step_and_the_remedy(
    wf: Workflow[Any], words: str, folder: Path
) -> None:
    path = folder / "w.yaml"
    path.write_text("as it was")
    for write in (wf.to_yaml, lambda: wf.save(path), lambda: wf.save(folder / "w.json")):
        with pytest.raises(WorkflowInvalid, match=words) as caught:
            write()
        assert f"Workflow {wf.name!r} cannot be saved" in str(caught.value)
        assert "at the top of a module" in str(caught.value)
        assert len(caught.value.faults) == 1
        assert caught.value.workflow == wf.name
    assert path.read_text() == "as it was"
    assert os.listdir(folder) == ["w.yaml"]


def test_to_dict_writes_code_that_only_this_process_finds() -> None:
    def here(text: str) -> str:
        return text.upper()

    wf = Workflow.of(here, name="w")
    assert Workflow.from_dict(wf.to_dict(), code=[here]).run_sync(text="ebb").output == "EBB"


@pytest.mark.parametrize("verb", ["to_dict", "to_yaml", "save"])
def test_a_workflow_with_faults_is_not_written(verb: str, folder: Path) -> None:
    wf = Workflow.of(say("draft", "x"), say("end", "{{ drafts }}"), name="w")
    with pytest.raises(WorkflowInvalid, match="did you mean 'draft'"):
        getattr(wf, verb)(*([folder / "w.yaml"] if verb == "save" else []))
    assert os.listdir(folder) == []


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.txt", "w", ".yaml", "w.yaml.bak", "w.toml"])
def test_another_suffix_is_refused(name: str, folder: Path) -> None:
    path = folder / name
    path.touch()
    for use in (chain().save, Workflow.load):
        with pytest.raises(ValueError, match=r"workflow files end in \.yaml, \.yml, \.json") as caught:
            use(path)
        assert repr(str(path)) in str(caught.value)
    assert path.read_text() == ""


def test_a_missing_file_or_folder_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        Workflow.load(folder / "none.yaml")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*absent' to save 'w\.yaml' in; make it first"):
        chain().save(folder / "absent" / "w.yaml")


def test_paths_may_be_text(folder: Path) -> None:
    chain().save(str(folder / "w.yaml"))
    assert Workflow.load(str(folder / "w.yaml")).name == chain().name


def test_saving_over_a_file_keeps_its_mode_and_leaves_nothing_beside_it(folder: Path) -> None:
    path = folder / "w.yaml"
    path.write_text("old" * 10_000)
    path.chmod(0o640)
    chain().save(path)
    assert Workflow.load(path).to_dict() == chain().to_dict()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(folder) == ["w.yaml"]


def test_saving_over_a_link_changes_what_it_points_to(folder: Path) -> None:
    (folder / "real").mkdir()
    real, link = folder / "real" / "w.yaml", folder / "link.yaml"
    real.write_text("old")
    link.symlink_to(real)
    chain().save(link)
    assert link.is_symlink()
    assert Workflow.load(real).to_dict() == chain().to_dict()


def test_a_write_that_fails_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "w.yaml"
    chain().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        diamond().save(path)
    assert path.read_bytes() == before
    assert os.listdir(folder) == ["w.yaml"]


def test_yaml_is_written_for_people(folder: Path) -> None:
    wf = Workflow.of(say("hello", "Grüße an\n{{ who }}."), name="w")
    path = folder / "w.yaml"
    wf.save(path)
    assert path.read_bytes() == (
        b"llmorch: 1\nname: w\ninputs:\n  who: {}\nsteps:\n  - name: hello\n    payload:\n      name: hello\n"
        b"      blocks:\n        - |-\n          Gr\xc3\xbc\xc3\x9fe an\n          {{ who }}.\n"
        b"      model: offline:echo\n    bind:\n      who:\n        from: who\noutput:\n  from: hello\n"
    )
    wf.save(folder / "w.json")
    assert "Grüße an\\n{{ who }}." in (folder / "w.json").read_text(encoding="utf-8")


BROKEN = [
    ("w.yaml", "name: w\nsteps:\n  - name: a\n   bad: 1\n", r"w\.yaml, line 4, column 4"),
    ("w.yaml", "name: w\nname: v\n", r"w\.yaml, line 2, column 1: the key 'name' is there twice"),
    ("w.yaml", "name: &a w\nsteps: *a\n", r"w\.yaml, line 1, column 7: anchors and aliases"),
    ("w.yaml", "", r"w\.yaml: the document is no mapping"),
    ("w.json", '{"name": "w",\n "steps": [,]}', r"w\.json: this is no JSON document: line 2, column 12"),
    ("w.json", '{"name": "w", "name": "v"}', r"w\.json: .*the key 'name' is there twice"),
    ("w.json", '{"name": NaN}', r"w\.json: .*NaN is no finite number"),
    ("w.json", "[]", r"w\.json: the document is no mapping"),
    ("w.json", "[" * 100_000, r"w\.json: .*nested too deep"),
    ("w.json", '{"x": ' * 400 + "1" + "}" * 400, r"w\.json: "),
    ("w.json", '{"x": ' + "9" * 5_000 + "}", r"w\.json: "),
    ("w.yaml", "llmorch: 2\nname: w\nsteps: []\n", r"w\.yaml: .*format 2; this version reads llmorch: 1"),
    ("w.yaml", "name: w\nsteps:\n  - payload: {name: a}\n    wen: x\n", r"w\.yaml: .*steps\[0\]: unknown key 'wen'"),
    (
        "w.json",
        '{"name": "w", "steps": [{"name": "draft", "payload": {"name": "x", "modle": "y"}}]}',
        r"w\.json: .*no workflow:\n  - steps\[0\] \('draft'\)\.payload: unknown key 'modle'; did you mean 'model'\?",
    ),
    ("w.yaml", "name: w\nsteps:\n  - payload: {name: a, blocks: ['{{ x }}']}\n", r"'x' is read, but is no step or"),
]


@pytest.mark.parametrize(("name", "text", "words"), BROKEN)
def test_what_is_no_workflow_is_refused_with_the_file_and_the_place(
    name: str, text: str, words: str, folder: Path
) -> None:
    path = folder / name
    path.write_text(text)
    with pytest.raises(WorkflowInvalid, match=f"(?s){words}") as caught:
        Workflow.load(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.faults


def test_bytes_that_are_no_text_are_refused_and_a_byte_order_mark_is_not(folder: Path) -> None:
    path = folder / "w.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(WorkflowInvalid, match=r"w\.yaml: byte 6 is no UTF-8"):
        Workflow.load(path)
    for marked, text in ((path, chain().to_yaml()), (folder / "w.json", json.dumps(chain().to_dict()))):
        marked.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert Workflow.load(marked).name == chain().name


def test_text_that_is_no_yaml_is_refused_with_its_place() -> None:
    with pytest.raises(WorkflowInvalid, match=r"<text>, line 1, column 2"):
        Workflow.from_yaml("[")


def test_every_fault_of_a_document_is_there() -> None:
    steps = [{"name": "a", "payload": {"name": "a"}, "wen": 1}, {"name": "b"}]
    with pytest.raises(WorkflowInvalid) as caught:
        Workflow.from_dict({"name": "w", "steps": steps, "outputs": 1})
    assert len(caught.value.faults) == 3
    assert [fault for fault in caught.value.faults if fault.startswith("steps[1] ('b')")]
    assert all(fault in str(caught.value) for fault in caught.value.faults)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_size_has_bounds_that_can_be_raised(suffix: str, folder: Path) -> None:
    many, long = folder / f"many{suffix}", folder / f"long{suffix}"
    steps = [say(f"s{index}", "x") for index in range(2_001)]
    wide = Workflow.of(*steps, name="wide")
    wide.returns([wide.add(say("end", "x"))]).save(many)
    heavy = Workflow("long")
    parts = [heavy.add(say(f"s{index}", "x" * (1 << 18))) for index in range(4)]  # each as long as a block may be
    heavy.returns(parts).save(long)
    with pytest.raises(WorkflowInvalid, match="has 2002 steps; at most 2000"):
        Workflow.load(many)
    with pytest.raises(WorkflowInvalid, match="1048576 bytes"):
        Workflow.load(long)
    assert len(Workflow.load(many, max_steps=3_000).to_dict()["steps"]) == 2_002
    assert Workflow.load(long, max_bytes=1 << 21).name == "long"


def test_steps_of_nested_workflows_count() -> None:
    assert Workflow.from_yaml(nested().to_yaml(), max_steps=5).name == "outer"
    with pytest.raises(WorkflowInvalid, match="has 5 steps; at most 4"):
        Workflow.from_yaml(nested().to_yaml(), max_steps=4)
