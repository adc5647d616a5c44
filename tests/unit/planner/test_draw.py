"""Mermaid and SVG pictures."""

from __future__ import annotations

import re
import xml.dom.minidom
from typing import Any

import pytest

from llmorch.definition.node import Ref, each
from llmorch.models.payload import Payload
from llmorch.planner.draw import to_mermaid, to_svg
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
    assert titles[0] == "w"
    assert {title.split()[0] for title in titles[1:]} == {"rows", "each-row", "post", "count"}
    assert len(document.getElementsByTagName("path")) == 5


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
    document = xml.dom.minidom.parseString(to_svg(everything().freeze()))
    places = [(int(box.getAttribute("x")), int(box.getAttribute("y"))) for box in document.getElementsByTagName("rect")]
    assert len(set(places)) == len(places) == 4
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert len({x for x, _ in places}) == 4


def test_a_large_workflow_is_cut_and_says_so() -> None:
    wf = Workflow("w")
    wf.returns([wf.add(ask(f"s-{index}")) for index in range(250)])
    picture = to_svg(wf.freeze())
    assert "50 more steps are not drawn" in picture
    assert picture.count("<rect") == 200


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
