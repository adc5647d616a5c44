"""Rendering: what text comes out, and what an error says."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest

from llmorch.errors import TemplateError
from llmorch.templates import compile_template


def render(text: str, /, **values: Any) -> str:
    return compile_template(text).render(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (10**400, str(10**400)),
        ([1, "é"], '[1, "é"]'),
        ({"b": 1, "a": None}, '{"b": 1, "a": null}'),
        ([], "[]"),
    ],
)
def test_text_renders_as_itself_and_everything_else_as_json(value: Any, text: str) -> None:
    assert render("{{ v }}", v=value) == text
    assert render("{% if true %}{{ v }}{% endif %}", v=value) == text  # the same through Jinja's machinery


def test_white_space_is_kept_as_it_is_written() -> None:
    assert render("a\n{% if true %}\n  b\n{% endif %}\n", x=1) == "a\n\n  b\n\n"
    assert render("{{ x }}\n\n", x=1) == "1\n\n"


def test_nothing_is_escaped() -> None:
    assert render("<{{ a }}> & {{ a | upper }}", a="<b>") == "<<b>> & <B>"


def test_a_dot_looks_up_a_key_and_never_a_method() -> None:
    assert (
        render(
            "{{ x.items }} {{ x.keys }} {{ x['a b'] }} {{ y.0 }} {{ y[-1] }}",
            x={"items": 1, "keys": 2, "a b": 3},
            y="pq",
        )
        == "1 2 3 p q"
    )


def test_a_name_that_is_not_given_is_named_with_its_line_and_the_nearest() -> None:
    for text in ("a\n{{ draft }}", "a\n{{ draft | upper }}"):
        with pytest.raises(TemplateError) as caught:
            render(text, drafts=1)
        assert caught.value.message == "line 2: 'draft' is not given; given are 'drafts'; did you mean 'drafts'?"
        assert caught.value.line == 2


def test_a_missing_key_is_named_with_what_there_is() -> None:
    with pytest.raises(TemplateError) as caught:
        render("\n\n{{ facts.titel }}", facts={"title": 1, "claims": 2})
    assert caught.value.message == "line 3: 'facts' has no 'titel'; it has 'title', 'claims'; did you mean 'title'?"
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ a.b.c }}", "'a.b' is a number and has no field 'c'"),
        ("{{ a.l.x }}", "'a.l' is a list and has no field 'x'"),
        ("{{ a.l[9] }}", "'a.l' has no item 9; it has 2"),
        ("{{ a.e.x }}", "'a.e' has no 'x'; it is empty"),
        ("{{ a.l | upper }}", "'upper' takes text, not a list; join it first"),
        ("{{ a.s | bullets }}", "'bullets' takes a list, not text"),
        ("{{ a.s | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ a is defind }}", "there is no test 'defind'; did you mean 'defined'?"),
        ("{{ a.s | attr('x') }}", "the filter 'attr' is left out of llmorch's templates; values have keys"),
        (
            "{{ a.s | truncate(1, 2, 3, 4, 5) }}",
            "the filter 'truncate': too many positional arguments; it takes (length",
        ),
        (
            "{{ a.s.upper() }}",
            ".upper(...) is not allowed: values are data, nothing can be called; use a filter, such as x | upper",
        ),
        ("{{ range(3) }}", "range(...) is not allowed: nothing can be called"),
        ("{% include 'x' %}", "{% include %} is not allowed: a template is one text"),
        ("{% do x %}", "Encountered unknown tag 'do'; "),
        ("{{ a b }}", "braces that are text stand between {% raw %} and {% endraw %}"),
        ("{{ a.s < 1 }}", "text and a number have no order"),
        ("{{ a.s + 1 }}", "'+' works on numbers, not on text and a number; join with ~"),
        ("{{ a.s * 3 }}", "'*' works on numbers"),
        ("{{ a.s % 3 }}", "'%' works on numbers"),
        ("{{ 9 ** 99999999 }}", "'**' would make a number of more than 4096 bits; use smaller numbers"),
        ("{{ 2 ** 2000 * 2 ** 2000 * 2 ** 2000 }}", "'*' would make a number of more than 4096 bits"),
        ("{{ a.b / 0 }}", "'/' divides by zero"),
        ("{% for i in a.b %}{% endfor %}", "{% for %} takes a list, not a number"),
        ("{{ 1 in a.b }}", "'in' cannot look for a number in a number"),
        ("{{ a.l | first | first }}", "'first' takes a list or text, not a number"),
        (
            "{{ a.s | between('q') }}",
            "has no <q> ... </q>; ask for the tag in the prompt, or write between('q', default='')",
        ),
        ("{{ a.s | between('te st') }}", "a tag's name is letters"),
    ],
)
def test_an_error_says_what_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(f"one\ntwo\n{text}", a={"b": 1, "l": [1, 2], "e": {}, "s": "text"})
    assert message in caught.value.message
    assert caught.value.message.startswith("line 3: ")
    assert caught.value.line == 3


def test_missing_parts_can_be_asked_about_and_given_a_default() -> None:
    text = "{{ a is defined }} {{ b.c is defined }} {{ a | default('x') }} {{ b.c | d('y') }} {{ b.e | d('z', true) }}"
    assert render(text, b={"e": ""}) == "false false x y z"


def test_a_missing_part_is_never_taken_for_false_or_empty() -> None:
    for text in (
        "{% if a %}{% endif %}",
        "{{ a or 'x' }}",
        "{{ a == 1 }}",
        "{{ a ~ '' }}",
        "{{ [a] }}",
        "{{ {'k': a} }}",
        "{% for i in a %}{% endfor %}",
        "{{ 'x' | default(a) | length + a }}",
        "{{ 1 in [a] }}",
        "{{ not a }}",
    ):
        with pytest.raises(TemplateError, match="'a' is not given"):
            render(text)


def test_a_condition_without_else_is_empty_text() -> None:
    assert render("{% for c in a %}{{ c }}{{ ', ' if not loop.last }}{% endfor %}", a=["x", "y"]) == "x, y"


def test_loops_have_their_counters() -> None:
    body = "{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.revindex0 }} "
    text = f"{{% for c in a %}}{body}{{% else %}}none{{% endfor %}}"
    assert render(text, a="xy") == "1/2true1 2/2false0 "
    assert render(text, a=[]) == "none"
    assert render("{% for x in a if x > 1 %}{{ loop.length }}{{ x }}{% endfor %}", a=[1, 2, 3]) == "2223"
    assert render("{% for k, v in o | items %}{{ k }}={{ v }};{% endfor %}", o={"a": 1, "b": 2}) == "a=1;b=2;"


def test_loop_is_an_ordinary_name_outside_of_loops() -> None:
    assert render("{{ loop.x }}", loop={"x": 1}) == "1"


def test_blocks_can_be_set_and_filtered() -> None:
    assert render("{% set a %}<{{ x }}>{% endset %}{{ a ~ a }}", x=1) == "<1><1>"
    assert render("{% set a | upper | trim %} b{{ x }} {% endset %}{{ a }}", x="y") == "BY"
    assert render("{% filter upper | replace('A', 'o') %}a{{ x }}{% endfilter %}", x="b") == "oB"
    assert render("{% with a = x, b = 2 %}{{ a + b }}{% endwith %}", x=1) == "3"


def test_operators_work_on_data() -> None:
    assert render("{{ 7 // 2 }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ -x }}", x=3) == "3 1024 3 -3"
    assert render("{{ 2 ** 1500 * x }}", x=3) == str(2**1500 * 3)
    assert render("{{ 1 < x <= 3 }} {{ 'b' in 'abc' }} {{ x not in [1] }}", x=3) == "true true true"
    assert render("{{ [1] + (2, 3) }} {{ 'a' + 'b' }} {{ 1 ~ none }}") == "[1, 2, 3] ab 1null"
    assert render("{{ a[1:3] }} {{ a[::-1] }} {{ b[:2] }}", a="abcd", b=[1, 2, 3]) == "bc dcba [1, 2]"


def test_the_same_text_is_compiled_once() -> None:
    assert compile_template("same {{ a }}") is compile_template("same {{ a }}")


def test_templates_survive_copying_and_pickling() -> None:
    template = compile_template("{{ a | upper }}!")
    for twin in (copy.deepcopy(template), pickle.loads(pickle.dumps(template))):
        assert twin.render({"a": "x"}) == "X!"


def test_one_template_renders_in_many_threads_at_once() -> None:
    template = compile_template("{% for i in a %}{{ i }}{{ n }}{% endfor %}{% set q = n %}{{ q }}")
    wrong: list[str] = []

    def work(number: int) -> None:
        expected = f"1{number}2{number}{number}"
        for _ in range(200):
            made = template.render({"a": [1, 2], "n": number})
            if made != expected:
                wrong.append(made)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_jinja_is_loaded_by_the_first_template_only() -> None:
    code = (
        "import sys, llmorch.templates as t; assert 'jinja2' not in sys.modules; "
        "t.compile_template('{{ a }}'); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
