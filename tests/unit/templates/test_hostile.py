"""Templates written to break out, to fill memory or to hang: each gives a TemplateError or inert text."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmorch.errors import TemplateError
from llmorch.templates import compile_expression, compile_template
from llmorch.templates.bounds import MAX_SOURCE, MAX_TEXT, MAX_WORK, TURN

# Coarse on purpose: work is counted, about 50 ms of it; a machine under load may take many times as long.
GENEROUS_SECONDS = 5.0

VALUES: dict[str, Any] = {
    "x": "text",
    "n": 3,
    "obj": {"title": "T", "items": [1, 2], "__class__": "a key", "inner": {"a": 1}},
    "rows": [{"k": str(index % 7), "v": "z" * 50} for index in range(5000)],
    "big": list(range(10_000)),
    "long": "lorem ipsum " * 80_000,
    "huge": "x" * (MAX_TEXT - 10),
    "wide": "é" * 1_000_000,
    "same": ["a" * 100_000] * 2000,
}

# Attribute walks, globals, calls: what would be code in plain Jinja.
ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x.__class__.__base__ }}",
    "{{ x['__class__'] }}",
    "{{ x['__cla' ~ 'ss__'] }}",
    "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ n.__class__.__init__.__globals__ }}",
    "{{ obj.inner.__class__ }}",
    "{{ obj.items() }}",
    "{{ obj.get('title') }}",
    "{{ obj.update({'a': 1}) }}",
    "{{ rows.append(1) }}",
    "{{ rows.__len__() }}",
    "{{ x.upper() }}",
    "{{ x.format(n) }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ '{0.__class__}'|format(x) }}",
    "{{ '%s'|format(x) }}",
    "{{ '%(a)s' % obj }}",
    "{{ '%999999999d' % 1 }}",
    "{{ x|attr('__class__') }}",
    "{{ x|attr('format')('{0.__class__}') }}",
    "{{ [x]|map('attr', '__class__')|list }}",
    "{{ [x]|map(attribute='__class__')|list }}",
    "{{ [x]|map(attribute='__class__.__mro__')|first }}",
    "{{ [x]|map('format', x)|list }}",
    "{{ [x]|map('xmlattr')|list }}",
    "{{ rows|groupby('__class__') }}",
    "{{ rows|sort(attribute='__class__') }}",
    "{{ rows|sum(attribute='__class__') }}",
    "{{ rows|selectattr('__class__')|list }}",
    "{{ rows|rejectattr('__class__.__name__', 'equalto', 'dict')|list }}",
    "{{ rows|unique(attribute='__class__') }}",
    "{{ rows|max(attribute='__class__') }}",
    "{{ rows|join(attribute='__class__') }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self['_TemplateReference__context'] }}",
    "{{ _TemplateReference__context }}",
    "{{ context }}",
    "{{ environment }}",
    "{{ resolve }}",
    "{{ __builtins__ }}",
    "{{ __import__('os').system('id') }}",
    "{{ lipsum.__globals__ }}",
    "{{ lipsum() }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ cycler('a').next() }}",
    "{{ joiner() }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ range(3) }}",
    "{{ url_for.__globals__ }}",
    "{{ config.items() }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{% for i in big %}{{ loop.__class__ }}{% endfor %}",
    "{% for i in big %}{{ loop['__class__'] }}{% endfor %}",
    "{% for i in big %}{{ loop }}{% endfor %}",
    "{% for i in big %}{% set l = loop %}{{ l.__init__ }}{% endfor %}",
    "{% for i in big %}{{ loop|list }}{% endfor %}",
    "{% for i in big %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in big %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in big %}{{ loop._undefined }}{% endfor %}",
    "{% for i in big recursive %}{{ loop(big) }}{% endfor %}",
    "{% for i in [1] %}{{ loop.previtem.__class__ }}{% endfor %}",
    "{{ undefined_name.__class__ }}",
    "{{ undefined_name._fail_with_undefined_error }}",
    "{{ (undefined_name|default(x)).__class__ }}",
    "{{ (x if false).__class__ }}",
    "{{ obj.nope._undefined_obj }}",
    "{{ obj.nope._undefined_exception.__globals__ }}",
    "{% set obj.title = 1 %}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'base' %}",
    "{% block a %}{% endblock %}",
    "{% macro m() %}{{ caller }}{% endmacro %}{{ m() }}",
    "{% call x() %}{% endcall %}",
    "{% do obj.clear() %}",
    "{% autoescape false %}{{ x }}{% endautoescape %}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
    "{{ x is callable }}",
    "{{ x is filter }}",
    "{{ x|safe }}",
    "{{ obj|xmlattr }}",
    "{{ x|urlize }}",
    "{{ big|random }}",
    "{{ obj|pprint }}",
    "{{ x|join(*big) }}",
    "{{ x|default(**obj) }}",
    "{{ obj[[]] }}",
    "{{ obj[obj] }}",
    "{{ {[]: 1} }}",
    "{{ {1: 2} }}",
    "{{ ｏbj.title }}",
    "{{ obj.ｔitle }}",
    "{{ x․__class__ }}",
    "{{ '\\ud800' }}",
    "\ud800{{ x }}",
    "{{ 1e999 }}",
    "{{ '{{ n }}' }}",
]

# Memory and time: what would be gigabytes or minutes.
FLOODS = [
    "{{ 'a' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 9 ** 99999999999 }}",
    "{{ (9 ** 999) * (9 ** 999) * (9 ** 999) }}",
    "{{ 2 ** -99999999999 }}",
    "{{ 1e308 * 10 }}",
    "{{ 1 / 0 }}",
    "{{ 1 % 0 }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ x|center(1000000000) }}",
    "{{ x|indent(1000000000) }}",
    "{{ long|indent(huge) }}",
    "{{ long|replace('', huge) }}",
    "{{ long|replace('o', huge) }}",
    "{{ long|wordwrap(1, wrapstring=huge) }}",
    "{{ long|wordwrap(0) }}",
    "{{ big|batch(1000000000, 'x')|list }}",
    "{{ big|batch(99999, 'x')|list|length }}",
    "{{ big|slice(1000000000)|list }}",
    "{{ big|join(huge) }}",
    "{{ same|join }}",
    "{{ same|bullets }}",
    "{{ same }}",
    "{{ same|yaml }}",
    "{{ huge ~ huge }}",
    "{{ huge }}{{ huge }}",
    "{{ wide|urlencode }}",
    "{{ wide ~ wide ~ wide ~ wide }}",
    "{{ obj|json(indent=1000000000) }}",
    "{{ 1|round(1000000000) }}",
    "{{ x|truncate(1000000000000, end=huge) }}",
    "{{ same|sort }}",
    "{{ '`' * 3 }}",
    "{{ ('<!--' ~ long)|replace('lorem', '<!--')|striptags }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a == [a] }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a|unique }}",
    "{% set a = [1] %}" + "{% set a = {'a': a, 'b': a} %}" * 60 + "{{ a|yaml }}",
    "{% set a = [1, 2] %}" + "{% set a = (a + a)|batch(2) %}" * 60 + "{{ a|json(2) }}",
    "{% set a %}x{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "{% for i in big %}{% for j in big %}x{% endfor %}{% endfor %}",
    "{% for i in big %}{% for j in big %}{% endfor %}{% endfor %}",
    "{% for i in big %}{% for j in big %}{{ loop.index ~ loop.length }}{% endfor %}{% endfor %}",
    "{% for i in big %}{% for j in big if j > i %}{% endfor %}{% endfor %}",
    "{% for i in big %}{{ huge }}{% endfor %}",
    "{% for i in big %}{% set a = huge|upper %}{% endfor %}",
    "{% for i in big %}{% set a = wide|lower %}{% endfor %}",
    "{% for i in big %}{% set a = long|title %}{% endfor %}",
    "{% for i in big %}{% set a = rows|sort(attribute='v') %}{% endfor %}",
    "{% for i in big %}{% set a = rows|json %}{% endfor %}",
    "{% for i in big %}{% set a = rows|groupby('k') %}{% endfor %}",
    "{% for i in big %}{% set a = rows == rows %}{% endfor %}",
    "{% for i in big %}{% if 'zzz' in huge %}{% endif %}{% endfor %}",
    "{% for i in big %}{% set a %}{{ huge }}{% endset %}{% endfor %}",
    "{% for i in big %}{% filter length %}{{ huge }}{% endfilter %}{% endfor %}",
    "{% for i in big %}{% set a = huge[1:] %}{% endfor %}",
    "{% for i in big %}{% set a = huge|trim('abcdefghijk') %}{% endfor %}",
    "{% for i in big %}{% set a = big|map('center', 9999)|list %}{% endfor %}",
    "{% for c in huge %}{% for d in huge %}{% endfor %}{% endfor %}",
    "{{ rows|map('json', indent=8)|list }}",
    "{{ huge|list|map('upper')|sort|join }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "{{ " + "not " * 5000 + "x }}",
    "{{ " + "-" * 5000 + "1 }}",
    "{{ x" + "|upper" * 5000 + " }}",
    "{{ obj" + ".a" * 5000 + " }}",
    "{{ 1" + " + 1" * 5000 + " }}",
    "{% if x %}" * 500 + "{% endif %}" * 500,
    "{% for i in big %}" * 30 + "{% endfor %}" * 30,
    "{% for i in big %}" * 5 + "x" + "{% endfor %}" * 5,
    "{{ x }}" * 200_000,
    "{{ [" + "1," * 100_000 + "] }}",
    "x" * (MAX_TEXT + 1),
]

# Text that plain Jinja, or a wrong join, could take for code.
INERT = [
    ("{{ obj.items }}", "[1, 2]"),
    ("{{ obj.__class__ }}", "a key"),
    ("{{ obj['__class__'] }}", "a key"),
    ("{{ '{{ n }}' }}", "{{ n }}"),
    ("{% raw %}{{ n }}{% endraw %}", "{{ n }}"),
    ("{{ '{0.__class__}' }}", "{0.__class__}"),
    ("{# {{ 1 / 0 }} #}", ""),
    ("{{ x|replace('t', '{{ n }}') }}", "{{ n }}ex{{ n }}"),
]


def render(text: str) -> str:
    """The text, or a TemplateError; anything else fails the test."""
    return compile_template(text).render(VALUES)


@pytest.mark.parametrize("text", ESCAPES)
def test_an_attack_gives_an_error_or_inert_text(text: str) -> None:
    try:
        made = render(text)
    except TemplateError as error:
        assert error.message  # noqa: PT017  # rendering is right too
        return
    assert len(made) < 10_000
    for leak in ("<class", "<function", "<built-in", "<bound", "object at 0x", "<module", "Undefined", "uid="):
        assert leak not in made


@pytest.mark.parametrize("text", FLOODS, ids=lambda text: text[:60])
def test_a_flood_is_stopped_by_size_or_work(text: str) -> None:
    started = time.process_time()
    try:
        made = render(text)
    except TemplateError as error:
        assert len(error.message) < 2000  # noqa: PT017  # rendering is right too
    else:
        assert len(made.encode()) <= MAX_TEXT
    assert time.process_time() - started < GENEROUS_SECONDS


@pytest.mark.parametrize(("text", "made"), INERT)
def test_what_looks_like_code_stays_text(text: str, made: str) -> None:
    assert render(text) == made


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(set(ESCAPES)) + len(set(FLOODS)) >= 150


@pytest.mark.parametrize(
    "value", ["{{ 7*7 }}", "{% for i in x %}", "{# gone #}", "{{ x.__class__ }}", "$& $1 \\1 %s {0}"]
)
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert compile_template("<{{ v }}>").render({"v": value}) == f"<{value}>"
    assert compile_template("<{{ v ~ v|trim }}>").render({"v": value}) == f"<{value}{value}>"
    assert compile_template("{{ v }}").render({"v": [value]}).startswith('["')


def test_an_object_that_is_no_data_is_refused_not_walked() -> None:
    class Secret:
        key = "sk-1"

        def __str__(self) -> str:
            raise AssertionError("rendering called a method of the value")

    for text in (
        "{{ s }}",
        "{{ s.key }}",
        "{{ s['key'] }}",
        "{{ s|upper }}",
        "{{ [s] }}",
        "{{ s ~ '' }}",
        "{{ s|json }}",
    ):
        with pytest.raises(TemplateError):
            compile_template(text).render({"s": Secret()})


def test_a_text_subclass_cannot_run_code() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError("rendering called a method of the value")

    assert compile_template("{{ s }}").render({"s": Loud("quiet")}) == "quiet"
    assert compile_template("{{ s ~ '!' }}").render({"s": Loud("quiet")}) == "quiet!"


def test_values_are_not_changed_by_rendering() -> None:
    values = {"a": [3, 1, 2], "o": {"k": [1]}}
    compile_template("{{ a|sort }}{{ a|reverse }}{{ o.k + [2] }}{% set a = a + [4] %}{{ a }}").render(values)
    assert values == {"a": [3, 1, 2], "o": {"k": [1]}}


def test_the_work_of_a_render_is_counted_exactly() -> None:
    """100 000 empty turns fit the bound, one more does not: the count decides, never the clock."""
    empty = compile_template("{% for i in a %}{% endfor %}")
    assert empty.render({"a": [0] * ((MAX_WORK - 1) // TURN)}) == ""
    with pytest.raises(TemplateError, match="more work than one render may"):
        empty.render({"a": [0] * (MAX_WORK // TURN + 1)})


def test_the_source_is_bounded_so_that_reading_it_stays_quick() -> None:
    assert len(render("x" * MAX_SOURCE)) == MAX_SOURCE
    with pytest.raises(TemplateError, match="pass long texts in as values"):
        compile_template("x" * (MAX_SOURCE + 1))


def test_the_output_is_bounded_in_utf_8_bytes() -> None:
    fits = "é" * (MAX_TEXT // 2)
    for text in ("{{ a }}", "{{ a ~ '' }}"):
        assert compile_template(text).render({"a": fits}) == fits
        with pytest.raises(TemplateError, match="more than the"):
            compile_template(text).render({"a": fits + "é"})


def test_very_deep_values_give_a_template_error() -> None:
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 3):
        deep = [deep]
    for text in ("{{ d }}", "{{ d|json(indent=2) }}", "{{ d|yaml }}", "{{ d|upper }}", "{{ d == [d] }}"):
        with pytest.raises(TemplateError):
            compile_template(text).render({"d": deep})


_WORDS = (
    "{{ }} {% %} {# #} {%- -%} x obj rows n . [ ] ( ) | ~ * ** % + - / // == < not in is and or if else elif endif "
    "for endfor set endset with endwith filter endfilter raw endraw loop self block macro call import include upper "
    "join map attr format default sort batch json yaml tag between defined odd __class__ 'a' 1 2.5 none true , : = "
    "attribute { } 0 99999999999 '__class__' items range import"
)
_PIECES = st.sampled_from([" ", "\n", '"b"', "\xe9", "\x00", "\u2028", *_WORDS.split()])


@given(st.lists(_PIECES, max_size=25).map(" ".join) | st.lists(_PIECES, max_size=25).map("".join) | st.text())
@example("{{ x|map }}")
@example("{% for x in x %}{{ loop.index.x }}{% endfor %}")
@example("{{ n.0 }}")
def test_any_text_renders_or_raises_a_template_error(text: str) -> None:
    small = {"x": "t", "n": 2, "obj": {"items": [1]}, "rows": [{"x": 1}, {"x": 2}]}
    try:
        made = compile_template(text).render(small)
    except TemplateError:
        return
    assert len(made.encode()) <= MAX_TEXT


_CODE = st.lists(_PIECES.filter(lambda piece: "{" not in piece and "}" not in piece), min_size=1, max_size=12)


@given(_CODE.map(" ".join))
def test_any_code_in_braces_renders_or_raises_a_template_error(code: str) -> None:
    small = {"x": "t", "n": 2, "obj": {"items": [1]}, "rows": [{"x": 1}, {"x": 2}]}
    for run in (
        lambda: compile_template(f"a{{{{ {code} }}}}b").render(small),
        lambda: compile_template(f"{{% {code} %}}").render(small),
        lambda: compile_expression(code).evaluate(small),
    ):
        try:
            run()
        except TemplateError as error:
            assert error.message  # noqa: PT017  # rendering is right too
