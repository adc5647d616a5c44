"""Mermaid and SVG pictures."""

from __future__ import annotations

import random
import re
import xml.dom.minidom
from collections.abc import Iterator
from typing import Any

import pytest

from llmorch.definition.node import Ref, each
from llmorch.models.payload import Payload
from llmorch.planner.draw import picture_of, to_mermaid, to_svg
from llmorch.planner.layout import FONT, LINE, PAD, Arrow, Box, Picture, cut, lay_out, text_width
from llmorch.workflow import Workflow
from tests.unit.planner.make import ask

HOSTILE = "a:\"`#&<>'{}[]()|\\;%% --> \n end\n subgraph x <script>alert(1)</script>"


def everything() -> Workflow[Any]:
    def count(post: str) -> int:
        return len(post)

    inner = Workflow.of(ask("p", "{{ row }}"), ask("q", "{{ p }}"), name="in")
    wf = Workflow("w")
    wf.input("rows", list[str])
    wf.map(inner, name="each-row", row=each(Ref("rows")), concurrency=3)
    wf.add(ask("post", "{{ each_row }}"), when="rows != []", after=["each-row"])
    wf.add(count)
    return wf


def lines_of(document: xml.dom.minidom.Document) -> tuple[int, int]:
    """How many solid and how many dashed pieces of lines there are."""
    paths = [path for path in document.getElementsByTagName("path") if path.getAttribute("fill") == "none"]
    solid = [path for path in paths if not path.getAttribute("stroke-dasharray")]
    dashed = [path for path in paths if path.getAttribute("stroke-dasharray")]
    return tuple(sum(path.getAttribute("d").count("M") for path in group) for group in (solid, dashed))  # type: ignore[return-value]


def top_of(workflow: Workflow[Any]) -> Picture:
    """The outermost picture of a workflow."""
    return picture_of(workflow.freeze())[0]


def check_places(picture: Picture) -> None:
    """No box touches another or leaves the picture, and no line runs through one."""
    boxes = list(picture.boxes.values())
    for index, box in enumerate(boxes):
        assert 0 <= box.x < box.x + box.width <= picture.width
        assert 0 <= box.y < box.y + box.height <= picture.height
        for other in boxes[:index]:
            apart = box.x >= other.x + other.width + 20 or other.x >= box.x + box.width + 20
            assert apart or box.y >= other.y + other.height + 10 or other.y >= box.y + box.height + 10
    for curve in picture.curves:
        for x, y in points(curve.path):
            assert not any(box.x < x < box.x + box.width and box.y < y < box.y + box.height for box in boxes), (
                curve.path
            )


def points(path: str) -> Iterator[tuple[float, float]]:
    """Points along a path of M, H and C."""
    x = y = 0.0
    for command, numbers in re.findall(r"([MHC])([^MHC]*)", path):
        given = [float(number) for number in numbers.split()]
        if command == "M":
            x, y = given
        elif command == "H":
            yield from ((x + (given[0] - x) * part / 40, y) for part in range(41))
            x = given[0]
        else:
            x1, y1, x2, y2, x3, y3 = given
            for part in range(41):
                t = part / 40
                a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
                yield a * x + b * x1 + c * x2 + d * x3, a * y + b * y1 + c * y2 + d * y3
            x, y = x3, y3


def test_the_flowchart_of_a_workflow() -> None:
    assert to_mermaid(everything().freeze()) == (
        "flowchart TD\n"
        '    n1[/"rows"/]\n'
        '    subgraph n2["each-row<br/>for each item, 3 at once"]\n'
        '        n5("p<br/>a:m")\n'
        '        n6("q<br/>a:m")\n'
        "        n5 --> n6\n"
        "    end\n"
        '    n3("post<br/>a:m<br/>when rows != #91;#93;")\n'
        '    n4[["count"]]\n'
        "    n1 -->|each| n2\n"
        "    n2 --> n3\n"
        "    n1 -->|when| n3\n"
        "    n2 -.->|after| n3\n"
        "    n3 --> n4\n"
        '    n7(["output"])\n'
        "    n4 --> n7\n"
    )


def test_no_text_of_a_workflow_can_leave_its_label() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x", model=HOSTILE))
    chart = to_mermaid(wf.freeze())
    lines = chart.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r'    n1\("a<br/>(?:[^"<>{}\[\]()|`;]|#\d+;|…)*"\)', lines[1]), lines[1]


def test_the_svg_is_well_formed_and_holds_every_step() -> None:
    document = xml.dom.minidom.parseString(to_svg(everything().freeze()))
    titles = [node.firstChild.data for node in document.getElementsByTagName("title")]
    assert titles == [
        "w",
        "rows",
        "each-row | for each item, 3 at once",
        "p | a:m",
        "q | a:m",
        "post | a:m | when rows != []",
        "count",
        "output",
    ]
    solid, dashed = lines_of(document)
    assert (solid, dashed) == (1 + 6, 1)  # p-q; rows-each, rows-post in two, each-post, post-count, count-output; after


def test_the_svg_needs_nothing_from_outside_and_runs_nothing() -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x", model=HOSTILE), when=f"{HOSTILE!r} == ''")
    picture = to_svg(wf.freeze())
    document = xml.dom.minidom.parseString(picture)
    assert not document.getElementsByTagName("script")
    assert re.findall(r"\w+://[^\"]+", picture) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("text", ["\x00\x01", "\ud83d\ude00", "é漢"])
def test_odd_characters_give_well_formed_xml(text: str) -> None:
    wf = Workflow("w")
    wf.add(Payload("a", "x", model=f"a:{text.encode('utf-8', 'replace').decode()}"))
    xml.dom.minidom.parseString(to_svg(wf.freeze()))


def test_boxes_do_not_overlap_and_columns_are_generations() -> None:
    picture = top_of(everything())
    assert [box.column for box in picture.boxes.values()] == [0, 1, 2, 3, 4]
    assert [*picture.boxes] == ["rows", "each-row", "post", "count", ""]
    check_places(picture)


def test_a_nested_workflow_is_drawn_inside_its_frame() -> None:
    picture = top_of(everything())
    frame = picture.boxes["each-row"]
    assert frame.inner is not None
    assert [*frame.inner.boxes] == ["p", "q"]
    assert frame.inner.width + 2 * PAD <= frame.width
    assert frame.inner.height + 2 * LINE + PAD <= frame.height


def test_nested_workflows_too_deep_or_too_large_are_drawn_closed() -> None:
    wf = Workflow.of(ask("leaf"), name="in-0")
    for depth in range(1, 6):
        wf = Workflow.of(wf, name=f"in-{depth}")
    assert "in-1 | workflow of 2 steps" in to_svg(wf.freeze())
    assert "leaf" not in to_svg(wf.freeze())
    large = Workflow("large")
    large.returns([large.add(ask(f"s-{index}")) for index in range(199)])
    whole = Workflow("whole")
    whole.returns([whole.add(large, name="one"), whole.add(large, name="two")])
    picture = to_svg(whole.freeze())
    assert picture.count(">workflow of 199 steps</text>") == 2
    assert picture.count("<rect") == 3


def test_a_line_passes_boxes_between_its_ends_in_a_lane_of_its_own() -> None:
    picture = top_of(Workflow.of(ask("a"), ask("b", "{{ a }}"), ask("c", "{{ a }} {{ b }}"), name="w"))
    check_places(picture)
    assert len(picture.curves) == 5  # a-b, b-c, c-output, and a-c in two pieces
    assert sum(curve.head is not None for curve in picture.curves) == 4


@pytest.mark.parametrize("seed", range(60))
def test_no_line_runs_through_a_box_whatever_the_workflow(seed: int) -> None:
    draw = random.Random(seed)
    boxes: dict[str, Box] = {}
    arrows: list[Arrow] = []
    for index in range(draw.randint(1, 25)):
        sources = draw.sample(list(boxes), min(len(boxes), draw.randint(0, 4)))
        column = max((boxes[source].column + 1 for source in sources), default=draw.randint(0, 1))
        inner = Picture(draw.randint(50, 400), draw.randint(50, 400), {}, []) if draw.random() < 0.1 else None
        boxes[f"s{index}"] = Box("payload", ("x" * draw.randint(1, 60),) * draw.randint(1, 4), column, inner)
        arrows += [Arrow(source, f"s{index}", draw.random() < 0.2) for source in sources]
    picture = lay_out(boxes, arrows)
    check_places(picture)
    assert sum(curve.head is not None for curve in picture.curves) == len(set(arrows))


@pytest.mark.parametrize(
    "line", ["a", "w" * 90, "M" * 90, "漢" * 90, "i" * 300, "a-long-name " * 20, "\U0001f600" * 40, "", "WwIl" * 30]
)
def test_a_line_of_text_fits_its_box(line: str) -> None:
    picture = lay_out({"a": Box("payload", (line,), 0)}, [])
    assert text_width(cut(line)) <= picture.boxes["a"].width - 2 * PAD
    assert cut(line) == line or (cut(line).endswith("…") and len(cut(line)) > 10)


def test_text_is_taken_to_be_as_wide_as_it_can_be() -> None:
    assert text_width("漢" * 10) >= 10 * FONT
    assert text_width("M" * 10) > text_width("a" * 10) > text_width("i" * 10) > 0


def test_boxes_stand_as_high_as_what_they_read() -> None:
    wf = Workflow("w")
    x, y, z = (wf.add(ask(name)) for name in ("x", "y", "z"))
    wf.returns([wf.add(ask(f"after-{ref.name}", "{{ it }}"), it=ref) for ref in (z, x, y)])
    boxes = top_of(wf).boxes
    assert sorted(("x", "y", "z"), key=lambda name: boxes[name].y) == ["x", "y", "z"]
    assert sorted(("x", "y", "z"), key=lambda name: boxes[f"after-{name}"].y) == ["x", "y", "z"]
    far = Workflow("far")
    a, b = far.add(ask("a")), far.add(ask("b"))
    c, d = far.add(ask("c", "{{ it }}"), it=a), far.add(ask("d", "{{ it }}"), it=b)
    far.returns([far.add(ask("e", "{{ p }} {{ q }}"), p=d, q=b), far.add(ask("f", "{{ p }} {{ q }}"), p=c, q=a)])
    boxes = top_of(far).boxes
    assert boxes["a"].y < boxes["b"].y
    assert boxes["f"].y < boxes["e"].y


def test_short_text_is_not_cut_and_its_whole_is_told_in_any_case() -> None:
    wf = Workflow("w")
    wf.add(ask("a" * 60, model="anthropic:claude-sonnet-4-5"))
    picture = to_svg(wf.freeze())
    assert ">anthropic:claude-sonnet-4-5</text>" in picture
    assert f">{'a' * 60}</text>" not in picture
    assert f"<title>{'a' * 60} | " in picture


def test_colours_come_from_the_page() -> None:
    picture = to_svg(everything().freeze())
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', picture)) == {"currentColor", "none"}


def test_a_wide_picture_shrinks_only_as_far_as_it_can_be_read() -> None:
    wf = Workflow.of(
        *(ask(f"s-{index}", f"{{{{ s_{index - 1} }}}}" if index else "x") for index in range(40)), name="w"
    )
    svg = xml.dom.minidom.parseString(to_svg(wf.freeze())).documentElement
    least = re.search(r"min-width:(\d+)px", svg.getAttribute("style"))
    assert least is not None
    assert int(least.group(1)) == int(svg.getAttribute("width")) * 3 // 4 > 2_000


def test_a_reference_that_decides_is_shown() -> None:
    wf = Workflow("w")
    a = wf.add(ask("a"))
    wf.add(ask("b"), when=a["ok"][0])
    assert "b | a:m | when a.ok[0]" in to_svg(wf.freeze())
    assert "when a.ok#91;0#93;" in to_mermaid(wf.freeze())


def test_a_large_workflow_is_cut_and_says_so() -> None:
    wf = Workflow("w")
    wf.returns([wf.add(ask(f"s-{index}")) for index in range(250)])
    picture = to_svg(wf.freeze())
    assert "50 more steps are not drawn" in picture
    assert picture.count("<rect") == 200 + 1  # the output


def test_workflows_that_cannot_run_can_be_drawn() -> None:
    wf = Workflow("w").returns(Ref("a"))
    wf.add(ask("a", "{{ b }}"))
    wf.add(ask("b", "{{ a }}"))
    definition = wf.draft()[0]
    assert "n1 --> n2" in to_mermaid(definition)
    xml.dom.minidom.parseString(to_svg(definition))
    empty = Workflow("empty").draft()[0]
    assert to_mermaid(empty) == "flowchart TD\n"
    xml.dom.minidom.parseString(to_svg(empty))
