"""References record what is asked of them and refuse what cannot be known yet."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from llmorch.definition.names import did_you_mean, fault_of_name, nearest
from llmorch.definition.node import (
    DictOf,
    Each,
    FirstOf,
    ListOf,
    Literal,
    Node,
    Optional,
    Ref,
    as_binding,
    each,
    first_n,
    first_of,
    optional,
    refs_in,
)  # fmt: skip
from llmorch.errors import ValueRefused


class Point(BaseModel):
    x: int
    inner: dict[str, list[int]]


def test_items_and_pick_record_a_path() -> None:
    ref: Ref[Point] = Ref("p")
    assert ref["inner"]["a"][0].path == ("inner", "a", 0)
    assert ref.pick(lambda p: p.inner["a"][0]).path == ("inner", "a", 0)
    assert ref["x"].pick(lambda x: x).path == ("x",)
    assert repr(ref["inner"]["a"][0]) == "Ref(p.inner.a[0])"


@pytest.mark.parametrize(
    "choose",
    [lambda p: 1, lambda p: p.x and p.inner, lambda p: str(p), lambda p: [p.x], lambda p: len(p.inner)],
)
def test_pick_may_only_take_parts(choose: Any) -> None:
    with pytest.raises(TypeError):
        Ref[Any]("p").pick(choose)


@pytest.mark.parametrize(
    "use",
    [bool, iter, list, lambda r: 1 in r, lambda r: r == 1, lambda r: r != "a", lambda r: r < 1, lambda r: r <= 1,
     lambda r: f"{r}", lambda r: "x" if r else "y"],
)  # fmt: skip
def test_a_reference_refuses_what_needs_its_value_with_a_hint(use: Any) -> None:
    with pytest.raises(TypeError, match="exists only while the workflow runs"):
        use(Ref("draft")["x"])


def test_references_are_equal_by_source_and_path_and_hash_alike() -> None:
    assert Ref("a")["x"] == Ref("a", ("x",))
    assert Node("a") == Ref("a")
    assert len({Ref("a"), Node("a"), Ref("a", ("x",))}) == 2


@pytest.mark.parametrize("wrong", ["text", b"x", {"a": 1}, 3, None, {1, 2}])
def test_each_takes_lists_and_references_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match="each"):
        each(wrong)


def test_each_takes_lists_of_references_too() -> None:
    assert each([Ref("a"), 1]) == Each(ListOf((Ref("a"), Literal(1))))
    assert each((1, 2)) == Each(Literal([1, 2]))
    assert each(optional(Ref("a"), [])) == Each(Optional(Ref("a"), []))


def test_selections_take_references_only() -> None:
    with pytest.raises(TypeError, match="first_of"):
        first_of()
    with pytest.raises(TypeError, match="first_n"):
        first_n([1, 2], 1)  # type: ignore[list-item]  # that is the point
    with pytest.raises(TypeError, match="optional"):
        optional(3)  # type: ignore[arg-type]  # that is the point


def test_lists_and_dicts_with_references_inside_are_bindings_of_their_own() -> None:
    ref = Ref("a")
    assert as_binding([1, [ref]], where="x") == ListOf((Literal(1), ListOf((ref,))))
    assert as_binding({"k": (ref, {"n": None})}, where="x") == DictOf((("k", ListOf((ref, Literal({"n": None})))),))
    assert as_binding({"k": [1]}, where="x") == Literal({"k": [1]})
    assert list(refs_in(as_binding({"a": [ref, optional(first_of(ref, Ref("b")))]}, where="x"))) == [ref, ref, Ref("b")]


def test_a_literal_is_a_copy() -> None:
    given = {"a": [1]}
    binding = as_binding(given, where="x")
    given["a"].append(2)
    assert binding == Literal({"a": [1]})


def test_each_inside_a_list_and_what_is_no_data_are_refused_with_their_place() -> None:
    with pytest.raises(TypeError, match=r"step 'a'.*each\(\) stands alone"):
        as_binding([each([1])], where="step 'a'")
    with pytest.raises(ValueRefused, match="step 'a'"):
        as_binding(float("nan"), where="step 'a'")
    with pytest.raises(ValueRefused, match="step 'a'"):
        as_binding([Ref("b"), object()], where="step 'a'")


def test_defaults_of_optional_are_data() -> None:
    assert optional(FirstOf((Ref("a"),)), default=Point(x=1, inner={})).default == {"x": 1, "inner": {}}


@pytest.mark.parametrize("name", ["a", "a1", "a-b_c", "z9-"])
def test_good_names_have_no_fault(name: str) -> None:
    assert fault_of_name(name, what="Step") is None


@pytest.mark.parametrize("name", ["", "A", "-a", "a.b", "ä", "a\n", "item", "loop", "lambda"])
def test_bad_names_have_one_that_suggests_a_good_one(name: str) -> None:
    fault = fault_of_name(name, what="Step")
    assert fault is not None
    suggestion = fault.rpartition("such as ")[2].removeprefix("name=").strip("'\"")
    assert fault_of_name(suggestion, what="Step") is None


def test_the_nearest_name_must_be_near() -> None:
    assert nearest("drafd", ["draft", "post"]) == "draft"
    assert nearest("zebra", ["draft", "post"]) is None
    assert did_you_mean("drafd", ["draft"]) == "; did you mean 'draft'?"
    assert did_you_mean("zebra", ["draft", "post"]) == "; there are 'draft', 'post'"
    assert did_you_mean("zebra", []) == ""
