"""What a template reads, and what would fail on known types, without rendering it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from llmorch.errors import TemplateError
from llmorch.schema import json_schema
from llmorch.templates import compile_expression, compile_template


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("plain", []),
        ("{{ a }}{{ a }}", ["a"]),
        ("{{ facts.title }}", ["facts.title"]),
        ("{{ x[0].y['z w'] }}", [("x", 0, "y", "z w")]),
        ("{{ x[-1] }}{{ x.0 }}", [("x", -1), ("x", 0)]),
        ("{{ x[i].y }}", ["x", "i"]),
        ("{{ x[1:n] }}", ["x", "n"]),
        ("{{ a | default(b.c) }}", ["a", "b.c"]),
        ("{{ a if b.c else d }}", ["a", "b.c", "d"]),
        ("{% for c in facts.claims %}{{ c.x }}{{ loop.index }}{% endfor %}", ["facts.claims", "facts.claims.*.x"]),
        ("{% for c in a | sort %}{{ c.x }}{% endfor %}{{ c }}", ["a", "a.*.x", "c"]),
        ("{% for c in a %}{% for d in c.ds %}{{ d.e }}{% endfor %}{% endfor %}", ["a", "a.*.ds", "a.*.ds.*.e"]),
        ("{% for k, v in o | items %}{{ k }}{{ v.x }}{% endfor %}", ["o"]),
        ("{% for c in a if c.ok and z %}{% else %}{{ c }}{% endfor %}", ["a", "a.*.ok", "z", "c"]),
        ("{{ (a | first).x }}", ["a", "a.*.x"]),
        ("{% set f = facts.inner %}{{ f.title }}", ["facts.inner", "facts.inner.title"]),
        ("{{ s }}{% set s = 1 %}{{ s }}", ["s"]),
        ("{% set s = s | upper %}{{ s.x }}", ["s"]),
        ("{% if a %}{% set s = 1 %}{% endif %}{{ s }}", ["a", "s"]),
        ("{% if a %}{% set s = 1 %}{% else %}{% set s = 2 %}{% endif %}{{ s }}", ["a"]),
        ("{% for i in a %}{% set s = 1 %}{% endfor %}{{ s }}", ["a", "s"]),
        ("{% with b = a.c %}{{ b.d }}{% endwith %}{{ b }}", ["a.c", "a.c.d", "b"]),
        ("{% set t %}{{ a }}{% endset %}{{ t }}", ["a"]),
        ("{% filter replace('x', b) %}{{ a }}{% endfilter %}", ["a", "b"]),
        ("{% raw %}{{ a }}{% endraw %}{# {{ b }} #}", []),
        (
            "{{ a ~ b.c }}{{ [d, {'k': e}] }}{{ not f }}{{ 1 < g }}{{ h is defined }}",
            ["a", "b.c", "d", "e", "f", "g", "h"],
        ),
    ],
)
def test_full_paths_are_found(text: str, paths: list[Any]) -> None:
    expected = {tuple(path.split(".")) if isinstance(path, str) else path for path in paths}
    template = compile_template(text)
    assert template.paths == expected
    assert template.names == {path[0] for path in expected}


class Claim(BaseModel):
    text: str
    score: float | None = None


class Facts(BaseModel):
    title: str
    claims: list[Claim]
    tags: list[str] = []
    best: Claim | None = None
    notes: dict[str, str] = {}


FIELDS = "it has 'best', 'claims', 'notes', 'tags', 'title'"
OF_CLAIM = "it has 'score', 'text'; did you mean 'text'?"

SCHEMAS = {
    "facts": json_schema(Facts),
    "name": {"type": "string"},
    "count": {"type": "integer"},
    "names": json_schema(list[str]),
}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "\n{{ facts.titel }}",
            f"line 2 reads 'facts.titel', but 'facts' has no field 'titel'; {FIELDS}; did you mean 'title'?",
        ),
        (
            "{{ facts.claims[0].texts }}",
            f"line 1 reads 'facts.claims[0].texts', but 'facts.claims[0]' has no field 'texts'; {OF_CLAIM}",
        ),
        (
            "{% for c in facts.claims %}\n{{ c.txt }}{% endfor %}",
            f"line 2 reads 'facts.claims[*].txt', but 'facts.claims[*]' has no field 'txt'; {OF_CLAIM}",
        ),
        (
            "{{ facts.best.txt }}",
            f"line 1 reads 'facts.best.txt', but 'facts.best' has no field 'txt'; {OF_CLAIM}",
        ),
        ("{{ facts.title.x }}", "line 1 reads 'facts.title.x', but 'facts.title' is text and has no field 'x'"),
        ("{{ count.x }}", "line 1 reads 'count.x', but 'count' is a number and has no field 'x'"),
        ("{{ count[0] }}", "line 1 reads 'count[0]', but 'count' is a number and has no item 0"),
        (
            "{{ facts.claims.x }}",
            "line 1 reads 'facts.claims.x', but 'facts.claims' is a list and has no field 'x'; "
            "take an item or use a filter",
        ),
        (
            "{{ names | upper }}",
            "line 1 passes 'names', a list, to the filter 'upper', which takes text; join it first: | join(', ')",
        ),
        (
            "{{ facts | trim }}",
            "line 1 passes 'facts', an object, to the filter 'trim', which takes text; take a field, or write | json",
        ),
        (
            "{{ name | bullets }}",
            "line 1 passes 'name', text, to the filter 'bullets', which takes a list; put it in one: [x]",
        ),
        (
            "{% set f = facts %}{{ f.xyz }}",
            f"line 1 reads 'facts.xyz', but 'facts' has no field 'xyz'; {FIELDS}",
        ),
    ],
)
def test_a_read_that_cannot_work_is_a_fault(text: str, fault: str) -> None:
    assert compile_template(text).faults(SCHEMAS) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "{{ facts.title | upper }}{{ facts.claims[0].text }}{{ facts.best.score }}{{ facts.notes.any }}",
        "{{ facts.notes.anything | upper }}{% for k in facts %}{{ k }}{% endfor %}",
        "{% for t in facts.tags %}{{ t | upper }}{% endfor %}{{ facts.tags | bullets }}{{ name[0] }}",
        "{{ count | string | upper }}",
        "{{ unknown.x.y | upper }}{{ facts | json }}{{ name | length }}{{ names | join | upper }}",
    ],
)
def test_a_read_that_works_or_is_not_known_is_none(text: str) -> None:
    assert compile_template(text).faults(SCHEMAS) == []


def test_every_fault_is_found_once_and_in_order() -> None:
    faults = compile_template("{{ name | bullets }}\n{{ facts.a }}{{ facts.a }}\n{{ names | lower }}").faults(SCHEMAS)
    assert [fault[:6] for fault in faults] == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("score > 0.5 and not facts.done", True),
        ("facts.claims", ["a"]),
        ("facts.claims[0] ~ '!'", "a!"),
        ("{'draft': facts.claims | first, 'n': score + 1}", {"draft": "a", "n": 1.75}),
        ("(1, 'x')", [1, "x"]),
        ("none", None),
        ("'a' in facts.claims", True),
        ("facts.nope is defined or facts.claims | length == 1", True),
        ("'yes' if score > 1 else 'no'", "no"),
        ("result", "own"),
        ("facts.claims\n | length", 1),
    ],
)
def test_an_expression_gives_data(code: str, value: Any) -> None:
    values = {"score": 0.75, "facts": {"done": False, "claims": ["a"]}, "result": "own"}
    assert compile_expression(code).evaluate(values) == value


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("scor > 1", "'scor' is not given; given are 'facts', 'score'; did you mean 'score'?"),
        ("scor", "'scor' is not given"),
        ("facts.don", "'facts' has no 'don'; it has 'done'; did you mean 'done'?"),
        ("facts.don or true", "'facts' has no 'don'"),
        ("not facts.don", "'facts' has no 'don'"),
        ("[facts.don]", "'facts' has no 'don'"),
        ("facts.done()", "nothing can be called"),
        ("{{ score }}", "an expression stands without {{ }}"),
        ("score score", "the expression goes on with 'score' after its end"),
        ("", "an expression is empty"),
        ("score if facts.done", "'a if b' needs an else"),
        ("{1: score}", "a key must be text, not a number"),
        ("score = 1", "the expression goes on with"),
        ("score >", "write it like: score > 0.5"),
    ],
)
def test_an_expression_that_has_no_value_is_an_error(code: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_expression(code).evaluate({"score": 0.75, "facts": {"done": False}})
    assert message in caught.value.message


def test_expressions_are_read_and_checked_like_templates() -> None:
    expression = compile_expression("facts.titel == name and score > 1")
    assert expression.names == {"facts", "name", "score"}
    assert expression.paths == {("facts", "titel"), ("name",), ("score",)}
    assert len(expression.faults(SCHEMAS)) == 1
    assert compile_expression("facts") is compile_expression("facts")
