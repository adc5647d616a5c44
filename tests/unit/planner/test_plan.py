"""The plan as a value and as text."""

from __future__ import annotations

import re
from typing import Any

from llmorch.definition.node import Ref, each
from llmorch.models.payload import Payload
from llmorch.models.policy import Retry
from llmorch.planner.plan import Plan, Range, make_plan
from llmorch.pricing import Price
from llmorch.workflow import Workflow
from tests.unit.planner.make import Facts, ask, shelf

PRICED = shelf("a:m", price=Price(1, 10))


def article() -> Workflow[Any]:
    wf = Workflow("article")
    wf.input("audience", str, default="engineers", description="who reads it")
    facts = wf.add(ask("facts", "{{ article }}", output=Facts))
    wf.map(
        ask("check", "{{ claim }} for {{ audience }}"), claim=each(facts["claims"]), concurrency=4, when="facts.title"
    )
    wf.add(ask("post", "{{ facts }} {{ check }}"))
    return wf


def planned(workflow: Workflow[Any], **values: object) -> Plan:
    return make_plan(workflow.freeze(), PRICED, values)


def test_a_plan_lists_steps_in_running_order_with_what_they_read() -> None:
    plan = planned(article())
    assert [step.path for step in plan.steps] == ["facts", "check", "post"]
    assert plan.generations == (("facts",), ("check",), ("post",))
    assert plan.critical_path == ("facts", "check", "post")
    check = plan.steps[1]
    assert (check.kind, check.model, check.generation) == ("payload", "a:m", 2)
    assert set(check.reads) == {"facts", "audience"}
    assert check.when == "facts.title"
    assert check.map == Range(0, 5, 50)


def test_steps_added_in_any_order_stand_in_running_order() -> None:
    wf = Workflow("w")
    wf.add(ask("last", "{{ first }} {{ other }}"))
    wf.add(ask("first"))
    wf.add(ask("other"))
    plan = planned(wf)
    assert [step.path for step in plan.steps] == ["first", "other", "last"]
    assert plan.generations == (("first", "other"), ("last",))


def test_the_totals_are_the_sum_of_the_rows() -> None:
    plan = planned(article())
    assert plan.calls.likely == sum(step.calls.likely for step in plan.steps) == 7
    assert plan.tokens.high == sum(step.tokens.high for step in plan.steps)
    assert plan.cost is not None
    assert plan.cost.likely == sum(step.cost.likely for step in plan.steps if step.cost is not None)


def test_nested_steps_follow_theirs_with_paths_and_count_once_for_each_item() -> None:
    inner = Workflow.of(
        ask("p", "{{ row }}", retry=Retry(attempts=1)), ask("q", "{{ p }}", retry=Retry(attempts=1)), name="in"
    )
    wf = Workflow("w")
    wf.add(inner, name="once", row="x")
    wf.map(inner, name="many", row=each(["a", "b", "c"]))
    wf.add(ask("end", "{{ once }} {{ many }}"))
    plan = planned(wf)
    assert [step.path for step in plan.steps] == ["once", "once/p", "once/q", "many", "many[*]/p", "many[*]/q", "end"]
    rows = {step.path: step for step in plan.steps}
    assert rows["many"].calls == Range(6, 6, 6)
    assert rows["many[*]/p"].calls == rows["many[*]/q"].calls == Range(3, 3, 3)
    assert rows["once/q"].generation == 2
    assert plan.calls == Range(9, 9, 12)


def test_nested_function_steps_are_listed_too() -> None:
    def count() -> int:
        return 1

    inner = Workflow("in")
    inner.add(count)
    wf = Workflow("w")
    wf.add(inner, name="sub")
    assert [step.path for step in planned(wf).steps] == ["sub", "sub/count"]


def test_the_critical_path_prefers_calls_to_functions() -> None:
    def one() -> int:
        return 1

    def two(one: int) -> int:
        return one

    wf = Workflow("w")
    wf.add(one)
    wf.add(two)
    wf.add(ask("talk"))
    wf.add(ask("end", "{{ two }} {{ talk }}"))
    assert planned(wf).critical_path == ("talk", "end")


def test_a_bounded_map_is_slower_than_an_unbounded_one() -> None:
    wf = Workflow("w")
    wf.map(ask("wide", "{{ x }}"), x=each(["a"] * 9))
    wf.map(ask("narrow", "{{ x }}"), x=each(["a"] * 9), concurrency=2)
    wf.add(ask("end", "{{ wide }} {{ narrow }}"))
    assert planned(wf).critical_path == ("narrow", "end")


def test_given_values_make_the_estimate_of_a_known_prompt_narrower() -> None:
    wf = Workflow.of(ask("a", "{{ article }}", max_tokens=10), name="w")
    unknown, known = planned(wf).tokens, planned(wf, article="short").tokens
    assert known.high - known.low < unknown.high - unknown.low
    assert planned(wf, article="short").given == frozenset({"article"})


def test_an_input_with_a_hyphen_may_be_given_with_an_underscore() -> None:
    wf = Workflow("w")
    wf.input("the-text", str)
    wf.add(ask("a", "{{ the_text }}", max_tokens=10))
    assert planned(wf, the_text="x" * 5000).tokens.low > 1000


def test_a_value_that_is_no_data_does_not_stop_the_plan() -> None:
    wf = Workflow.of(ask("a", "{{ article }}"), name="w")
    assert planned(wf, article=object()).calls.likely == 1


def test_a_workflow_with_faults_still_has_a_plan() -> None:
    wf = Workflow("w").returns(Ref("a"))
    wf.add(ask("a", "{{ b }}"))
    wf.add(ask("b", "{{ a }}", model="no:model"))
    plan = make_plan(wf.draft()[0], PRICED)
    assert {step.path: step.generation for step in plan.steps} == {"a": 0, "b": 0}
    assert plan.generations == ()
    assert plan.cost is None
    assert "Nothing was sent." in str(plan)


def test_lambdas_and_closures_make_a_plan_not_portable() -> None:
    def inner() -> int:
        return 1

    wf = Workflow("w")
    wf.add(inner)
    assert not planned(wf).portable
    assert "Not portable" in str(planned(wf))
    assert planned(Workflow.of(ask("a"), name="w")).portable


def test_the_text_of_a_plan_is_an_aligned_table() -> None:
    lines = str(planned(article(), article="x" * 40)).splitlines()
    assert lines[0] == "Workflow 'article': 3 steps in 3 generations"
    assert lines[3].split() == ["audience", "default", '"engineers"', "declared", "who", "reads", "it"]
    assert lines[4].split() == ["article", "given", "implied", "by", "the", "steps", "that", "read", "it"]
    head = next(line for line in lines if line.lstrip().startswith("#"))
    rows = lines[lines.index(head) + 1 :][:3]
    for word in ("step", "kind", "model", "reads"):
        start = head.index(word)
        assert all(row[start - 1] == " " and row[start] != " " for row in rows), word
    assert "when facts.title" in rows[1]
    assert "payload x 0-50 (likely 5)" in rows[1]
    assert "Critical path: facts -> check -> post" in lines
    assert any(re.match(r"Total: 1-\d+ \(likely 7\) calls, .* tokens, .* USD", line) for line in lines)
    assert lines[-1] == "Nothing was sent."


def test_an_unknown_price_is_said_in_words() -> None:
    text = str(make_plan(article().freeze(), shelf("a:m"), {}))
    assert text.count("unknown") == 4  # three rows and the total
    assert "cost unknown" in text


def test_a_long_plan_shows_its_beginning_its_end_and_how_much_is_between() -> None:
    wf = Workflow("w")
    nodes = [wf.add(ask(f"s-{index:03}")) for index in range(200)]
    wf.returns(nodes)
    text = str(planned(wf))
    assert "s-000" in text
    assert "s-199" in text
    assert "s-100" not in text
    assert "... 141 more ..." in text
    assert len(text.splitlines()) < 80


def test_warnings_are_shown() -> None:
    wf = Workflow("w")
    wf.input("unused", str, default="")
    wf.add(ask("a"))
    assert "Warning: input 'unused' of 'w' is read by no step" in str(planned(wf))


def test_the_html_of_a_plan_is_escaped() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x", model="<script>:m"))
    page = make_plan(wf.freeze(), None)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;:m" in page
