"""Loops, dispatch, questions and scripts in the planner: faults, estimates, rows and pictures."""

from __future__ import annotations

import xml.dom.minidom
from decimal import Decimal
from typing import Any

import pytest

from llmorch import Block, Budget, Node, Orchestrator, Question, Retry, Script, WorkflowInvalid, each
from llmorch.planner.checks import MAX_DEPTH, check, unpriced
from llmorch.planner.draw import to_mermaid, to_svg
from llmorch.planner.estimate import Forecast, forecast
from llmorch.planner.plan import Plan, make_plan
from llmorch.planner.ranges import Range
from llmorch.pricing import Price
from llmorch.testing import ScriptedProvider
from llmorch.workflow import Workflow
from tests.unit.planner.make import Facts, Shelf, ask, shelf

PRICED = shelf("a:m", price=Price(1, 10))
ONCE = Retry(attempts=1)


def add_one(n: int) -> int:
    return n + 1


def refine(**fields: Any) -> Workflow[Any]:
    wf = Workflow("refine")
    wf.input("fix", str, default="")
    draft = wf.add(ask("draft", "{{ topic }} {{ fix }}", retry=ONCE, **fields))
    return wf.returns({"draft": draft, "facts": wf.add(ask("facts", "{{ draft }}", output=Facts, retry=ONCE))})


def looping(**options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    given = {"until": "output.facts.title != ''", "max_iterations": 5, "carry": {"fix": "output.draft"}, **options}
    wf.loop(refine(), name="turn", **given)
    return wf


def picking(**options: Any) -> Workflow[Any]:
    wf = Workflow("w")
    wf.input("kind")
    among = {"one": ask("p", "{{ topic }}", retry=ONCE), "two": refine(), "none": add_one}
    wf.dispatch("kind", among=among, name="pick", **options)
    return wf


def faults(workflow: Workflow[Any], catalog: Shelf | None = PRICED) -> tuple[str, ...]:
    return check(workflow.freeze(), catalog).faults


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def planned(workflow: Workflow[Any], **values: Any) -> Plan:
    return make_plan(workflow.freeze(), PRICED, values)


def estimated(workflow: Workflow[Any], **values: Any) -> Forecast:
    return forecast(workflow.freeze(), PRICED, values)


# Faults --------------------------------------------------------------------------------------------------------------


def test_sound_ones_have_no_faults() -> None:
    assert faults(looping()) == faults(picking()) == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"until": "output.facts.titel == ''"}, ("until=", "'output.facts.titel'", "did you mean 'title'")),
        ({"until": "output.fact.title == ''"}, ("until=", "'output' has no field 'fact'")),
        ({"until": "inputs.fixx == ''"}, ("until=", "'inputs.fixx'", "did you mean 'fix'")),
        ({"carry": {"fix": "output.facts.claim"}}, ("carry['fix']=", "did you mean 'claims'")),
        ({"carry": {"fix": "inputs.subject"}}, ("carry['fix']=", "'inputs.subject'")),
    ],
)
def test_a_rule_that_reads_what_is_not_there_is_a_fault(options: dict[str, Any], words: tuple[str, ...]) -> None:
    only(faults(looping(**options)), "Step 'turn': ", *words)


def test_a_rule_may_read_whatever_a_script_is_given() -> None:
    wf = Workflow("w")
    wf.loop(Script("s"), name="run", until="inputs.anything == 1", max_iterations=2, carry={"anything": "output"})
    assert faults(wf) == ()


def test_faults_inside_bodies_and_branches_have_their_paths() -> None:
    wf = Workflow("w")
    bad = ask("p", "{{ topic }}", model="no:model")
    nested = Workflow.of(bad.using(name="inner"), name="sub")
    wf.loop(bad, name="turn", until="true", max_iterations=1)
    wf.loop(nested, name="deep", until="true", max_iterations=1)
    wf.dispatch("'a'", among={"a": bad, "b": nested}, otherwise=bad, name="pick")
    wf.returns([])
    found = faults(wf)
    assert [fault.split(":")[0] for fault in found] == [
        "Step 'turn'",
        "Step 'deep/inner'",
        "Step 'pick/a'",
        "Step 'pick/b/inner'",
        "Step 'pick/otherwise'",
    ]


def test_what_a_body_makes_of_the_fields_it_reads_is_checked_but_not_of_those_it_carries() -> None:
    wf = Workflow("w")
    facts = wf.add(ask("facts", output=Facts))
    wf.loop(ask("body", "{{ f.titel }}"), name="one", until="true", max_iterations=1, f=facts)
    only(faults(wf.returns([])), "Step 'one': block 'body-1'", "did you mean 'title'")
    carried = Workflow("w")
    facts = carried.add(ask("facts", output=Facts))
    carried.loop(
        ask("body", "{{ f.other }}"), name="one", until="true", max_iterations=2, carry={"f": "output"}, f=facts
    )
    assert faults(carried.returns([])) == ()


def test_a_field_of_what_a_loop_or_dispatch_gives_is_checked() -> None:
    wf = looping()
    wf.add(ask("end", "{{ turn.facts.titel }}"))
    only(faults(wf), "block 'end-1'", "did you mean 'title'")
    same = Workflow("w")
    same.dispatch("'a'", among={"a": ask("p", output=Facts), "b": ask("q", output=Facts)}, name="pick")
    same.add(ask("end", "{{ pick.titel }}"))
    only(faults(same), "did you mean 'title'")
    mixed = Workflow("w")
    mixed.dispatch("'a'", among={"a": ask("p", output=Facts), "b": ask("q")}, name="pick")
    mixed.add(ask("end", "{{ pick.titel }}"))
    assert faults(mixed) == ()


def test_a_choice_that_reads_an_unknown_field_is_a_fault() -> None:
    wf = Workflow("w")
    facts = wf.add(ask("facts", output=Facts))
    wf.dispatch("facts.titel", among={"a": add_one}, name="pick", n=1)
    wf.dispatch(facts["titel"], among={"a": add_one}, name="ref", n=1)
    found = faults(wf.returns([]))
    assert len(found) == 2
    assert "Step 'pick'" in found[0]
    assert "Step 'ref'" in found[1]
    assert all("did you mean 'title'" in fault for fault in found)


@pytest.mark.parametrize(("kind", "levels"), [("loop", 1), ("dispatch", 2)])  # a dispatch is a level of its own
def test_workflows_nest_no_deeper_than_sixteen_through_loops_and_branches_too(kind: str, levels: int) -> None:
    def nested(outer: int) -> Workflow[Any]:
        inner = Workflow.of(ask("deepest", "{{ x }}"), name="w")
        for _ in range(outer):
            wf = Workflow("w")
            if kind == "loop":
                wf.loop(inner, name="s", until="true", max_iterations=2, carry={"x": "iteration"})
            else:
                wf.dispatch("'a'", among={"a": inner}, name="s")
            inner = wf
        return inner

    most = (MAX_DEPTH - 1) // levels
    assert faults(nested(most)) == ()
    only(faults(nested(most + 1)), f"more than {MAX_DEPTH} deep")


def test_a_price_that_is_unknown_is_found_in_bodies_and_branches() -> None:
    wf = Workflow("w")
    wf.loop(ask("p", model="a:free"), name="turn", until="true", max_iterations=1)
    wf.dispatch("'a'", among={"a": ask("q", model="a:free"), "b": refine(model="a:free")}, name="pick", topic="t")
    found = unpriced(wf.returns([]).freeze(), shelf("a:free", "a:m"))
    assert any("'turn'" in fault for fault in found)
    assert any("'pick" in fault for fault in found)


@pytest.mark.anyio
async def test_a_budget_in_dollars_is_refused_when_a_branch_has_no_price() -> None:
    wf = Workflow("w")
    wf.dispatch("'a'", among={"a": ask("q", model="scripted:m")}, name="pick")
    async with Orchestrator(providers=[ScriptedProvider({"*": "x"})]) as orch:
        with pytest.raises(WorkflowInvalid, match="price of 'scripted:m' is unknown"):
            await orch.run(wf, budget=Budget(usd=1))


# Estimates -----------------------------------------------------------------------------------------------------------


def test_a_loop_turns_once_twice_or_as_often_as_it_may() -> None:
    wf = Workflow("w")
    wf.loop(ask("p", "{{ x }}", retry=ONCE), name="turn", until="true", max_iterations=5, carry={"x": "output"})
    assert estimated(wf).calls == Range(1, 2, 5)
    assert estimated(looping()).calls == Range(2, 4, 5 + 5 * 2)  # a draft, and facts that are repaired once
    single = looping(max_iterations=1)
    assert estimated(single).calls == Range(2, 2, 3)


def test_a_dispatch_takes_what_its_least_or_its_dearest_branch_does() -> None:
    taken = estimated(picking())
    assert taken.calls == Range(0, 2, 3)
    assert taken.cost is not None
    assert taken.cost.low == 0
    assert taken.cost.likely > 0
    alike = Workflow("w")
    alike.dispatch("'a'", among={"a": ask("p", retry=ONCE), "b": ask("q", retry=ONCE)}, name="pick")
    assert estimated(alike).calls == Range(1, 1, 1)


def test_guards_and_maps_multiply_as_ever() -> None:
    guarded = looping(when="topic != ''")
    assert estimated(guarded).calls.low == 0
    wf = Workflow("w")
    wf.map(looping(), name="many", topic=each(["a", "b", "c"]))
    assert estimated(wf).calls == Range(6, 12, 45)


def test_an_unknown_price_anywhere_makes_the_cost_unknown() -> None:
    assert forecast(picking().freeze(), shelf("a:m"), {}).cost is None
    assert forecast(looping().freeze(), shelf("a:m"), {}).cost is None


def test_functions_scripts_and_questions_take_no_calls() -> None:
    wf = Workflow("w")
    wf.loop(add_one, until="true", max_iterations=2, carry={"n": "output"}, n=1)
    wf.loop(Question("{{ x }}?"), name="q", until="true", max_iterations=2, carry={"x": "output"}, x=1)
    wf.dispatch("'a'", among={"a": add_one, "b": Script("s")}, name="pick", n=1)
    taken = estimated(wf.returns([]))
    assert (taken.calls, taken.cost) == (Range(0, 0, 0), Range(Decimal(0), Decimal(0), Decimal(0)))


# Plan ----------------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_loop_over_a_workflow_count_for_all_turns() -> None:
    plan = planned(looping())
    rows = {row.path: row for row in plan.steps}
    assert list(rows) == ["turn", "turn@*/draft", "turn@*/facts"]
    assert rows["turn"].kind == "loop"
    assert rows["turn@*/draft"].calls == Range(1, 2, 5)
    assert rows["turn@*/draft"].calls + rows["turn@*/facts"].calls == rows["turn"].calls == plan.calls


def test_the_row_of_a_loop_over_a_payload_names_its_model() -> None:
    wf = Workflow("w")
    wf.loop(ask("p", "{{ x }}"), name="turn", until="true", max_iterations=3, carry={"x": "output"})
    (row,) = planned(wf).steps
    assert (row.path, row.kind, row.model, row.reads) == ("turn", "loop", "a:m", ("x",))


def test_the_rows_of_a_dispatch_are_its_branches() -> None:
    plan = planned(picking())
    rows = {row.path: row for row in plan.steps}
    assert list(rows) == ["pick", "pick/one", "pick/two", "pick/two/draft", "pick/two/facts", "pick/none"]
    assert rows["pick"].kind == "dispatch"
    assert set(rows["pick"].reads) == {"kind", "topic", "n"}
    assert rows["pick/one"].reads == ("topic",)
    assert rows["pick/one"].calls.likely <= 1
    assert "choice == " in (rows["pick/one"].when or "")
    assert "?" not in str(plan)


def test_questions_and_scripts_have_rows_of_their_kind() -> None:
    wf = Workflow("w")
    wf.ask("ok", "Fine?", answer=bool)
    wf.add(Script("count"), name="run", input=Node("ok"))
    assert [(row.path, row.kind, row.reads) for row in planned(wf).steps] == [
        ("ok", "question", ()),
        ("run", "script", ("ok",)),
    ]


def test_the_critical_path_goes_through_a_loop_of_calls() -> None:
    wf = Workflow("w")
    wf.loop(ask("p", "{{ x }}"), name="turn", until="true", max_iterations=9, carry={"x": "output"}, x="")
    wf.add(ask("quick"))
    wf.add(ask("end", "{{ turn }} {{ quick }}"))
    wf.dispatch("'b'", among={"a": add_one, "b": ask("q")}, name="pick", n=1)
    assert planned(wf.returns([Node("end"), Node("pick")])).critical_path == ("turn", "end")


# Pictures ------------------------------------------------------------------------------------------------------------


def drawn() -> Workflow[Any]:
    wf = Workflow("w")
    wf.input("kind")
    text = wf.loop(refine(), name="write", until="iteration == 1", max_iterations=3, carry={"fix": "output.draft"})
    wf.loop(ask("tune", Block("b", "{{ x }}").text), until=add_up, max_iterations=2, carry={"x": "output"}, x=text)
    wf.dispatch("kind", among={"mail": ask("m", "{{ tune }}"), "note": add_one}, name="send", n=1)
    wf.ask("ok", "Good: {{ send }}?", answer=bool)
    wf.add(Script("scripts/count.py"), name="count", input=Node("ok"))
    return wf


def add_up(output: str) -> bool:
    return bool(output)


def test_mermaid_frames_what_is_repeated_and_what_is_chosen_among() -> None:
    text = to_mermaid(drawn().freeze())
    assert 'subgraph n3["write<br/>until iteration == 1<br/>at most 3 times"]' in text
    assert '("tune<br/>a:m<br/>until add_up<br/>at most 2 times")' in text
    assert 'subgraph n5["send<br/>one of these"]' in text
    assert '("mail' in text
    assert '[["note' in text
    assert '{{"ok<br/>Good: ' in text
    assert '[["count<br/>scripts/count.py"]]' in text
    assert text.count("subgraph") == text.count("    end") == 2


def test_the_svg_shows_them_and_is_well_formed() -> None:
    svg = to_svg(drawn().freeze())
    xml.dom.minidom.parseString(svg)
    for words in ("write", "draft", "until iteration == 1", "one of these", "mail", "note", "ok", "count"):
        assert words in svg
    assert "?kind" not in svg
