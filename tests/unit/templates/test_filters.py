"""Every filter gives what its table promises; a list that Jinja would make an iterator is a list."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from llmorch import _yaml
from llmorch.errors import TemplateError
from llmorch.templates import compile_template, filters
from llmorch.templates.filters import FILTERS, LEFT_OUT
from llmorch.templates.questions import QUESTIONS

VALUES: dict[str, Any] = {
    "s": "the quick brown fox-trot (tango)",
    "nums": [3, 1, 2, 3],
    "names": ["b", "A", "c", "a"],
    "rows": [{"k": "x", "n": 2}, {"k": "y", "n": 1}, {"k": "x", "n": 3}],
    "o": {"b": 1, "a": 2},
    "lines": "one\n\ntwo\n",
    "html": "<p>a &amp; <b>b</b></p>",
    "f": 2.5,
}


def render(text: str, /, **values: Any) -> str:
    return compile_template(text).render({**VALUES, **values})


@pytest.mark.parametrize(
    "code",
    [
        "s | capitalize",
        "s | center(50)",
        "s | upper",
        "s | lower",
        "s | title",
        "s | trim",
        "'xxaxx' | trim('x')",
        "s | replace('o', '0')",
        "s | replace('o', '0', 1)",
        "s | truncate(12)",
        "s | truncate(12, true)",
        "s | truncate(12, false, '!', 0)",
        "s | wordcount",
        "s | wordwrap(10)",
        "s | wordwrap(10, wrapstring='|')",
        "s | length",
        "s | reverse",
        "s | first",
        "s | last",
        "s | urlencode",
        "o | urlencode",
        "html | striptags",
        "lines | indent",
        "lines | indent(2, true)",
        "lines | indent('> ', true, true)",
        "'3' | int",
        "'x' | int(7)",
        "'ff' | int(0, 16)",
        "'3.9' | int",
        "'2.5' | float",
        "'x' | float(1.5)",
        "f | round",
        "2.567 | round(2)",
        "2.1 | round(0, 'ceil')",
        "2.567 | round(1, 'floor')",
        "-3 | abs",
        "s | string",
        "12345 | filesizeformat",
        "12345 | filesizeformat(true)",
        "1 | filesizeformat",
        "nope | default('x')",
        "'' | default('x', true)",
        "nums | sort | join(',')",
        "nums | sort(true) | join(',')",
        "names | sort | join",
        "names | sort(case_sensitive=true) | join",
        "names | unique | join",
        "nums | unique | join",
        "nums | sum",
        "nums | max",
        "nums | min",
        "names | max",
        "nums | length",
        "nums | count",
        "nums | first",
        "nums | last",
        "names | join('-')",
        "rows | join(',', 'k')",
        "rows | sum('n')",
        "rows | sum(attribute='n', start=10)",
        "rows | map(attribute='n') | join(',')",
        "names | map('upper') | join",
        "rows | selectattr('n', 'gt', 1) | map(attribute='n') | join",
        "rows | rejectattr('n', 'odd') | map(attribute='n') | join",
        "nums | select('odd') | join",
        "nums | reject('odd') | join",
        "rows | sort(attribute='n') | map(attribute='n') | join",
        "rows | sort(attribute='k,n') | map(attribute='n') | join",
        "rows | max(attribute='n') | length",
        "rows | unique(attribute='k') | map(attribute='n') | join",
        "nums | batch(3) | map('join', '-') | join('|')",
        "nums | batch(3, 0) | map('join', '-') | join('|')",
        "nums | slice(3) | map('join', '-') | join('|')",
        "nums | slice(3, 0) | map('join', '-') | join('|')",
        "o | dictsort | map('first') | join",
        "o | dictsort(by='value') | map('first') | join",
        "o | items | map('first') | join",
        "o | list | join",
        "nums | reverse | join",
        "rows | groupby('k') | map('first') | join",
        "[] | min | default('none')",
    ],
)
def test_a_filter_kept_from_jinja_gives_what_jinja_gives(code: str) -> None:
    expected = jinja2.Environment(autoescape=False).from_string(f"{{{{ {code} }}}}").render(VALUES)
    assert render(f"{{{{ {code} }}}}") == expected


@pytest.mark.parametrize(
    ("code", "made"),
    [
        ("['a', 'b\nc', 1, {'k': 2}] | bullets", '- a\n- b\n  c\n- 1\n- {"k": 2}'),
        ("['a', 'b\nc'] | numbered", "1. a\n2. b\n   c"),
        ("[] | bullets", ""),
        ("{'a': [1, 'é']} | json", '{"a":[1,"é"]}'),
        ("{'a': 1} | json(indent=2)", '{\n  "a": 1\n}'),
        ("'<' | tojson", '"<"'),
        ("{'a': ['x', 'no'], 'b': 'p\nq\n'} | yaml", 'a:\n  - x\n  - "no"\nb: |\n  p\n  q'),
        ("'body' | tag('facts')", "<facts>\nbody\n</facts>"),
        ("[1] | tag('a-b')", "<a-b>\n[1]\n</a-b>"),
        ("'abcdefghij' | truncate_tokens(2)", "abcdefgh"),
        ("'ab' | truncate_tokens(2)", "ab"),
        ("'x = 1' | fenced('python')", "```python\nx = 1\n```"),
        ("'a ```` b' | fenced", "`````\na ```` b\n`````"),
        ("'no <a>1</a> <a>2</a>' | between('a')", "1"),
        ("'<a>\n two \n</a>' | between('a')", "two"),
        ("'none' | between('a', default='-')", "-"),
        ("'<b> & \"' | escape", "&lt;b&gt; &amp; &quot;"),
        ("rows | groupby('k') | first", '["x", [{"k": "x", "n": 2}, {"k": "x", "n": 3}]]'),
        ("(rows | groupby('k') | first).grouper", "x"),
        ("nums | map('string') | list", '["3", "1", "2", "3"]'),
        ("[[1], [1], {'a': 1}] | unique", '[[1], {"a": 1}]'),
        ("[1, true, 1] | unique", "[1, true]"),
        ("10 is divisibleby 5 and 'a' is in ['a'] and none is none and o is mapping", "true"),
    ],
)
def test_a_filter_for_prompts_gives_what_models_read(code: str, made: str) -> None:
    assert render(f"{{{{ {code} }}}}") == made


@pytest.mark.parametrize(
    "code",
    [
        "s | bullets",
        "s | numbered",
        "s | join(',')",
        "s | sort",
        "s | map('upper')",
        "nums | upper",
        "o | trim",
        "nums | fenced | upper | sort",
        "[1, 'a'] | sort",
        "rows | sort",
        "[none, 1] | max",
        "rows | sum",
        "names | sum",
        "s | abs",
        "s | round",
        "s | dictsort",
        "s | items",
        "s | center('x')",
        "s | batch(2)",
        "nums | batch(0)",
        "nums | slice(0)",
        "s | truncate(2)",
        "f | length",
        "[] | first",
        "[] | min",
        "nums | map('nope')",
        "nums | select('nope')",
        "rows | map(attribute='zzz')",
        "s | fenced('a\nb')",
        "s | indent('x', 1, 2, 3)",
        "s | json(indent=100)",
        "s | json(indent=-1)",
        "s | between",
        "s | tag('')",
        "s | truncate_tokens('x')",
    ],
)
def test_a_filter_refuses_what_it_is_not_for(code: str) -> None:
    with pytest.raises(TemplateError):
        render(f"{{{{ {code} }}}}")


def test_what_yaml_writes_is_read_back() -> None:
    assert _yaml.loads(render("{{ rows | yaml }}")) == VALUES["rows"]


def test_the_documented_table_lists_every_filter() -> None:
    for name in FILTERS:
        assert name in (filters.__doc__ or "")
    for name in LEFT_OUT:
        assert f"`{name}`" in (filters.__doc__ or "")


def test_no_filter_or_test_of_jinja_is_there_or_missing_by_accident() -> None:
    jinja = jinja2.Environment()
    assert set(jinja.filters) - set(FILTERS) == set(LEFT_OUT)
    assert set(jinja.tests) - set(QUESTIONS) == {"callable", "escaped", "filter", "sameas", "test"}
