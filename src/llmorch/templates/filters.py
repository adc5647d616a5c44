"""Every filter there is: Jinja's text and list filters, those for prompts, and those that apply another filter.

| kind | filters |
|---|---|
| text | `capitalize center default (d) escape (e, forceescape) filesizeformat indent lower replace string` |
| | `striptags title trim truncate upper urlencode wordcount wordwrap` |
| numbers | `abs float int round` |
| lists, objects | `batch dictsort first groupby items join last length (count) list max min reverse slice sort` |
| | `sum unique` |
| for each item | `map reject rejectattr select selectattr` |
| prompts | `between bullets fenced json (tojson) numbered tag truncate_tokens yaml` |

Left out of Jinja's: `attr` (values have keys, no attributes), `format` (a language of its own), `pprint` (Python
notation), `random` (a render must repeat), `safe` (nothing is escaped), `urlize` and `xmlattr` (HTML).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import TemplateError
from .bounds import Data, Work
from .list_filters import LIST_FILTERS
from .prompt_filters import PROMPT_FILTERS
from .questions import QUESTIONS
from .text_filters import TEXT_FILTERS
from .values import as_items, did_you_mean, look_up_path, require_given

__all__ = ["FILTERS", "LEFT_OUT", "unknown"]

LEFT_OUT: Final[dict[str, str]] = {
    "attr": "values have keys and no attributes: write x.name",
    "format": "write the text around {{ ... }}, or join with ~",
    "pprint": "use json",
    "random": "a render must give the same text each time",
    "safe": "nothing is escaped here, leave it out",
    "urlize": "it makes HTML",
    "xmlattr": "it makes HTML",
}


def unknown(kind: str, name: str, *, known: dict[str, Callable[..., Data]]) -> str:
    """The sentence for a filter or test that does not exist."""
    if kind == "filter" and name in LEFT_OUT:
        return f"the filter {name!r} is left out of llmorch's templates; {LEFT_OUT[name]}"
    near = did_you_mean(name[:100], known)
    return f"there is no {kind} {name[:100]!r}{near or '; known are ' + ', '.join(sorted(known))}"


def _each(work: Work, value: Data, name: str) -> list[Data]:
    items = as_items(value, what=repr(name))
    work.spend(1 + 10 * len(items))
    return items


def _map(
    work: Work, value: Data, filter: str = "", *args: Data, attribute: Data = None, default: Data = None
) -> list[Data]:
    """Each item through a filter (`map('upper')`), or one field of each (`map(attribute='title')`)."""
    items = _each(work, value, "map")
    if attribute is not None:
        fallback = {} if default is None else {"default": default}
        return [look_up_path(work, item, attribute=attribute, **fallback) for item in items]
    apply = _named("filter", filter, FILTERS)
    made = [apply(work, item, *args) for item in items]
    for item in made:
        require_given(item)
    return made


def _named(kind: str, name: Data, known: dict[str, Callable[..., Data]]) -> Callable[..., Data]:
    if not isinstance(name, str) or name not in known:
        raise TemplateError(unknown(kind, str(name), known=known))
    return known[name]


def _chosen(name: str, *, by_field: bool, keep: bool) -> Callable[..., list[Data]]:
    def choose_by_field(work: Work, value: Data, attribute: Data, test: Data = None, *args: Data) -> list[Data]:
        items = _each(work, value, name)
        fields = [look_up_path(work, item, attribute=attribute) for item in items]
        return _matching(work, items, fields, test, args)

    def choose(work: Work, value: Data, test: Data = None, *args: Data) -> list[Data]:
        items = _each(work, value, name)
        return _matching(work, items, items, test, args)

    def _matching(work: Work, items: list[Data], fields: list[Data], test: Data, args: tuple[Data, ...]) -> list[Data]:
        if test is None:
            return [item for item, field in zip(items, fields, strict=True) if bool(field) is keep]
        ask = _named("test", test, QUESTIONS)
        return [item for item, field in zip(items, fields, strict=True) if bool(ask(work, field, *args)) is keep]

    return choose_by_field if by_field else choose


FILTERS: Final[dict[str, Callable[..., Data]]] = {
    **TEXT_FILTERS,
    **LIST_FILTERS,
    **PROMPT_FILTERS,
    "map": _map,
    "reject": _chosen("reject", by_field=False, keep=False),
    "rejectattr": _chosen("rejectattr", by_field=True, keep=False),
    "select": _chosen("select", by_field=False, keep=True),
    "selectattr": _chosen("selectattr", by_field=True, keep=True),
}
