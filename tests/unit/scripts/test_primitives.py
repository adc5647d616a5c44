"""The scripts that come with llmorch, as functions and as programs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from llmorch import MissingExtra, scripts
from llmorch.scripts.find import SHIPPED

SHIPPED_NAMES = sorted(path.stem for path in SHIPPED.glob("[a-z]*.py"))


def run(name: str, told: object, folder: Path) -> tuple[int, dict[str, Any]]:
    """The script as a program: its exit code and what it prints."""
    text = told if isinstance(told, str) else json.dumps(told)
    command = [sys.executable, "-W", "error", str(SHIPPED / f"{name}.py")]
    done = subprocess.run(command, input=text, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_each_is_a_function_of_the_same_name() -> None:
    for name in SHIPPED_NAMES:
        function = getattr(scripts, name)
        assert function.__name__ == name
        assert name in scripts.__all__


def test_json_extract_gives_fields_and_names_the_missing(tmp_path: Path) -> None:
    data = {"title": "Bees", "tags": ["a", "b"], "a.b": 1, "author": {"name": None}}
    found = scripts.json_extract(data, ["title", "tags.1", "a.b", "author.name", "tags.9", "author.name.x", "year"])
    assert found == {
        "extracted": {"title": "Bees", "tags.1": "b", "a.b": 1, "author.name": None},
        "missing_fields": ["tags.9", "author.name.x", "year"],
        "total_fields": 7,
        "extracted_count": 4,
    }
    for told in (
        {"parameters": {"json_data": json.dumps(data), "fields": ["title"]}, "input": "", "dependencies": {}},
        {"parameters": {"fields": ["title"]}, "input": data},
        {"json_data": data, "fields": ["title"]},
    ):
        code, printed = run("json_extract", told, tmp_path)
        assert (code, printed["success"], printed["extracted"]) == (0, True, {"title": "Bees"})


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"parameters": {"json_data": "{", "fields": []}}, "Expecting property name"),
        ({"parameters": {"json_data": 1, "fields": []}}, "must be a JSON object or list, and not int"),
        ({"parameters": {"json_data": {}, "fields": "a"}}, r"takes several: write ['a']"),
        ({"parameters": {"json_data": {}}}, "the parameter 'fields' is missing; there are json_data, fields"),
        ({"parameters": {"json_data": {}, "fields": [], "x": 1}}, "there is no parameter 'x'"),
        ({"parameters": [1]}, "parameters must be a JSON object"),
        ("[1]", "must hold a JSON object"),
        ("{", "Expecting property name"),
    ],
)
def test_a_mistake_is_told_in_json(tmp_path: Path, told: object, message: str) -> None:
    code, printed = run("json_extract", told, tmp_path)
    assert (code, printed["success"]) == (1, False)
    assert message in printed["error"]


def test_files_are_written_and_read(tmp_path: Path) -> None:
    told = {"parameters": {"path": "new/note.txt"}, "input": "zwei Wörter"}
    assert run("write_file", told, tmp_path) == (
        0,
        {"success": True, "path": "new/note.txt", "size": 11, "bytes_written": 12},
    )
    code, printed = run("read_file", {"parameters": {"path": "new/note.txt"}}, tmp_path)
    assert (code, printed) == (0, {"success": True, "content": "zwei Wörter", "path": "new/note.txt", "size": 11})
    code, printed = run("read_file", {"parameters": {"path": "nope"}}, tmp_path)
    assert (code, printed) == (1, {"success": False, "error": "No such file or directory: 'nope'"})
    with pytest.raises(ValueError, match="content must be text, and not dict"):
        scripts.write_file(str(tmp_path / "x"), {})  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        scripts.write_file(str(tmp_path / "new" / "note.txt"), "ö", encoding="ascii")
    assert (tmp_path / "new" / "note.txt").read_text(encoding="utf-8") == "zwei Wörter"


def test_replications_follow_the_seed(tmp_path: Path) -> None:
    code, printed = run("replicate_n_times", {"parameters": {"replications": 3, "seed": 40}}, tmp_path)
    assert code == 0
    assert printed["replications"] == [
        {"replication_id": number, "total_replications": 3, "random_seed": 39 + number} for number in (1, 2, 3)
    ]
    assert (printed["total_replications"], printed["base_seed"]) == (3, 40)
    assert scripts.replicate_n_times()["replications"][0]["random_seed"] > 0
    for wrong in (-1, 10**9, True, 1.5):
        with pytest.raises(ValueError, match="replications must be a whole number"):
            scripts.replicate_n_times(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be a whole number"):
        scripts.replicate_n_times(1, seed="x")  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "options", "text"),
    [
        ("Ada\n", {}, "Ada"),
        ("one\ntwo\n\nthree\n", {"multiline": True}, "one\ntwo"),
        ("\n", {"default": "Bo"}, "Bo"),
        ("", {"default": "Bo"}, "Bo"),
    ],
)
def test_a_person_is_asked_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, typed: str, options: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert scripts.get_user_input("Name?", **options)["input"] == text


def test_a_person_says_yes_or_no(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("Yes\n"))
    assert scripts.confirm_action("Go?", default="n") == {"confirmed": True, "input": "yes", "prompt": "Go?"}
    assert capsys.readouterr().out == "Go? [y/N]: "
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert scripts.confirm_action("Go?", default="n")["confirmed"] is False
    assert scripts.confirm_action("Go?", answer=True)["confirmed"] is True
    with pytest.raises(ValueError, match="must be yes or no, and not 'perhaps'"):
        scripts.confirm_action("Go?", answer="perhaps")


@pytest.mark.parametrize("name", ["get_user_input", "confirm_action"])
def test_in_a_workflow_the_answer_is_the_input(tmp_path: Path, name: str) -> None:
    assert run(name, {"parameters": {"prompt": "Go?"}, "input": "yes"}, tmp_path)[1]["input"] == "yes"
    assert run(name, {"parameters": {"default": "y"}, "input": ""}, tmp_path)[1]["input"] == "y"
    code, printed = run(name, {"parameters": {"prompt": "Go?"}, "input": ""}, tmp_path)
    assert (code, printed["success"]) == (1, False)
    assert "nobody answers 'Go?'; in a workflow ask with wf.ask(...)" in printed["error"]


@pytest.mark.parametrize(
    ("kind", "options", "edges"),
    [
        ("ring", {}, 12),
        ("star", {}, 11),
        ("complete", {}, 66),
        ("path", {}, 11),
        ("tree", {"branching": 3}, 11),
        ("grid", {}, 17),
        ("small_world", {"k": 4, "p": 0.5, "seed": 1}, 24),
        ("scale_free", {"m": 3, "seed": 1}, 27),
        ("random", {"edge_prob": 1.0}, 66),
    ],
)
def test_each_topology_is_a_simple_network(kind: str, options: dict[str, Any], edges: int) -> None:
    found = scripts.generate_topology(kind, 12, **options)
    assert (found["topology_type"], found["nodes"], found["edge_count"]) == (kind, 12, edges)
    graph = nx.Graph(map(tuple, found["edges"]))
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (12, edges)
    assert nx.is_connected(graph)
    assert found["parameters"] == {name: value for name, value in options.items() if name != "seed"}


def test_a_seed_repeats_a_topology(tmp_path: Path) -> None:
    first, second = (scripts.generate_topology("random", 40, edge_prob=0.2, seed=s)["edges"] for s in (3, 4))
    assert first != second
    told = {"parameters": {"topology_type": "random", "nodes": 40, "edge_prob": 0.2, "seed": 3}}
    assert run("generate_topology", told, tmp_path)[1]["edges"] == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("torus", 5), "no topology 'torus'; there are small_world, random"),
        (("ring", 0), "nodes must be a whole number from 1 to 10000"),
        (("complete", 5000), "about 12497500 edges; 500000 is the most"),
        (("scale_free", 2), "scale_free: "),
    ],
)
def test_a_topology_that_cannot_be_is_refused(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scripts.generate_topology(*arguments)


A, B = [1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 7.0]


def test_a_test_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llmorch\[statistics\]'"):
        scripts.t_test(A, B)


def test_the_tests_give_the_figures_of_the_textbook(tmp_path: Path) -> None:
    pytest.importorskip("scipy.stats")
    t = scripts.t_test(A, B)
    assert (round(t["t_statistic"], 4), round(t["degrees_of_freedom"], 3)) == (-2.1019, 5.585)
    assert (round(t["p_value"], 4), t["significant"], t["alpha"]) == (0.0837, False, 0.05)
    assert t["group1_stats"] == {"mean": 2.5, "variance": 5 / 3, "n": 4}
    assert round(t["effect_size_cohens_d"], 4) == -1.4863
    assert scripts.t_test(A, B, alpha=0.1)["significant"] is True
    assert round(scripts.anova([A, B])["f_statistic"], 4) == round(2.101947**2, 4)
    assert scripts.mann_whitney(A, B)["u_statistic"] == 2.0
    assert scripts.correlation(A, [2 * x + 1 for x in A])["coefficient"] == pytest.approx(1.0)
    assert scripts.correlation(A, [x**3 for x in A], method="spearman")["coefficient"] == pytest.approx(1.0)
    square = scripts.chi_square([[10, 20], [20, 10]])
    assert (round(square["chi2_statistic"], 3), square["degrees_of_freedom"]) == (5.4, 1)
    assert square["expected"] == [[15.0, 15.0], [15.0, 15.0]]
    code, printed = run("t_test", {"parameters": {"group1": A, "group2": B}}, tmp_path)
    assert (code, printed) == (0, {"success": True, **t})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("t_test", ([1], [2, 3]), "group1 has 1 numbers; the test needs 2 or more"),
        ("t_test", ("12", [2, 3]), "group1 must be a list of numbers, and not str"),
        ("t_test", ([1, None], [2, 3]), "group1 must hold numbers only, and not None"),
        ("t_test", ([1, float("nan")], [2, 3]), "group1 must hold numbers only"),
        ("t_test", ([1, 1], [2, 2]), "do not vary"),
        ("anova", ([[1, 2]],), "groups has 1 samples"),
        ("anova", ([[1, 1], [2, 2]],), "do not vary"),
        ("correlation", ([1, 2, 3], [1, 2]), "y has 2 numbers"),
        ("correlation", ([1, 2, 3], [1, 1, 1]), "do not vary"),
        ("correlation", ([1, 2, 3, 4], [1, 2, 3]), "equally many"),
        ("chi_square", ([[1, 2]],), "two rows or more"),
        ("chi_square", ([[1, 2], [3, -4]],), "none of them negative"),
        ("chi_square", ([[0, 0], [3, 4]],), "a row or a column of zeros"),
        ("chi_square", ([[1, 0], [3, 0]],), "a row or a column of zeros"),
    ],
)
def test_samples_that_make_no_test_are_refused(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(scripts, name)(*arguments)


def test_a_level_of_significance_is_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="alpha must be between 0 and 1, and not 5"):
        scripts.t_test(A, B, alpha=5)
