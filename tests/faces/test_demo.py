"""The demonstration as a stranger runs it: `python -m llmorch demo`, without a key, and with every likely mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import llmorch
from llmorch.__main__ import main
from llmorch.demo import Section, count_words, reading_guide, split_sections
from llmorch.event_lines import from_line
from llmorch.events import CallFinished, MapExpanded, RunFinished, RunStarted
from tests.architecture.tree import ROOT

LIMIT_S = 120
ARTICLE = ROOT / "examples" / "data" / "lighthouses.md"
PLAIN = "\n\n".join(
    f"Chapter {n} is about rivers. Rivers carry stones to the sea. The stones of river {n} are round."
    for n in range(90)
)


def llmorch_in(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "llmorch", *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The demo as the README has it."""
    folder = tmp_path_factory.mktemp("default")
    return llmorch_in(folder, "demo"), folder


Ran = tuple[subprocess.CompletedProcess[str], Path]


def test_the_demo_runs_without_a_key_and_says_that_no_model_answered(default: Ran) -> None:
    done, _ = default
    assert done.returncode == 0, done.stderr
    assert "That is no language model" in done.stdout
    assert "OPENAI_API_KEY=... python -m llmorch demo --model openai:gpt-5-mini" in done.stdout


def test_the_plan_comes_first_then_the_guide_then_the_figures(default: Ran) -> None:
    done, _ = default
    places = [
        done.stdout.index(mark)
        for mark in (
            "Workflow 'reading-guide': 8 steps", "Critical path: sections -> summaries", "\n# ", "**Keywords:** ",
            "## The rock that would not keep a tower", "Status    succeeded", "Calls     15", "Tokens    ",
            "Cost      $0", "Duration  ", "Report    ", "Events    ",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert len(ARTICLE.read_text(encoding="utf-8").split()) > 3000


def test_what_it_prints_is_made_of_the_article(default: Ran) -> None:
    done, _ = default
    article = " ".join(ARTICLE.read_text(encoding="utf-8").split())
    summary = done.stdout.partition("## A brighter flame\n\n")[2].partition("\n\n")[0]
    sentences = re.split(r"(?<=\.) (?=[A-Z])", summary)
    assert len(sentences) == 2
    assert all(sentence in article for sentence in sentences)
    keywords = done.stdout.partition("**Keywords:** ")[2].partition("\n")[0].split(", ")
    assert len(keywords) == 8


def test_progress_is_shown_on_stderr_while_it_runs(default: Ran) -> None:
    done, _ = default
    assert re.search(r"^ +\d+\.\d\ds  start    keywords$", done.stderr, re.MULTILINE)
    assert re.search(r"items    summaries: 11$", done.stderr, re.MULTILINE)
    assert re.search(r"done     summaries\[10\]", done.stderr)
    assert "start    " not in done.stdout


def test_the_report_and_the_event_log_are_written_beside_it(default: Ran) -> None:
    done, folder = default
    report = (folder / "llmorch-demo" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# reading-guide: succeeded\n")
    assert "### `summaries[10]`" in report
    assert "```mermaid" in report
    lines = (folder / "llmorch-demo" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [from_line(line) for line in lines]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert [event.items for event in events if isinstance(event, MapExpanded)] == [11]
    calls = [event for event in events if isinstance(event, CallFinished)]
    assert len(calls) == 15
    spent = sum(call.usage.input_tokens for call in calls if call.usage is not None)
    assert f"Tokens    {spent:,} in, " in done.stdout
    assert events[-1].usage.input_tokens == spent


def test_two_runs_print_the_same_guide(default: Ran, tmp_path: Path) -> None:
    def guide(printed: str) -> str:
        return printed.partition("Nothing was sent.")[2].partition("------")[0]

    assert guide(llmorch_in(tmp_path, "demo").stdout) == guide(default[0].stdout) != ""


def test_a_plain_text_of_your_own_is_read_and_written_where_you_say(tmp_path: Path) -> None:
    (tmp_path / "rivers.txt").write_text(PLAIN, encoding="utf-8")
    done = llmorch_in(tmp_path, "demo", "rivers.txt", "--out", "a/b")
    assert done.returncode == 0, done.stderr
    assert "a reading guide to rivers.txt (1,620 words)" in done.stdout
    assert "python -m llmorch demo rivers.txt --model" in done.stdout
    assert "## Part 1" in done.stdout
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["events.jsonl", "report.md"]
    started = json.loads((tmp_path / "a" / "b" / "events.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert started["inputs"]["text"] == PLAIN


def test_a_terminal_without_unicode_gets_question_marks_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "cafe.txt").write_text("Das Café in Łódź hat geöffnet. 日本語の文章です。", encoding="utf-8")
    done = llmorch_in(tmp_path, "demo", "cafe.txt", environment={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "Caf? in ??d?" in done.stdout


def test_a_one_word_text_is_enough(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Lighthouse", encoding="utf-8")
    done = llmorch_in(tmp_path, "demo", "one.txt")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, ("missing.txt",), "missing.txt cannot be read (No such file or directory); name a text file"),
        (None, (".",), ". cannot be read (Is a directory); name a text file"),
        (b"\x7fELF\x80\xff", ("given",), "given is no UTF-8 text (byte 4); name a text file"),
        (b"text\0text", ("given",), "given is a binary file; name a text file"),
        (b"", ("given",), "given holds no words; name a file with a text in it"),
        (b" \n\t--\n", ("given",), "given holds no words"),
        (b"a" * 2_000_001, ("given",), "given has 2,000,001 bytes and the demo reads 2,000,000 at most"),
        (
            b"A text.",
            ("given", "--model", "nobody:x"),
            "there is no provider named 'nobody'; known are anthropic, azure",
        ),
        (b"A text.", ("given", "--model", "opnai:x"), "did you mean 'openai'?"),
        (b"A text.", ("given", "--model", "gpt-5"), "'gpt-5' is no model id; write 'provider:model'"),
        (b"A text.", ("given", "--model", "openai:gpt-5-mini"), "needs a key: set OPENAI_API_KEY"),
        (b"A text.", ("given", "--model", "offline:summry"), "did you mean 'summary'?"),
        (b"A text.", ("given", "--out", "given"), "the folder given cannot be made (File exists); name another one"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    content: bytes | None,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / "given").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_mistake_shows_no_traceback(tmp_path: Path) -> None:
    done = llmorch_in(tmp_path, "demo", "missing.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("llmorch demo: missing.txt cannot be read")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_model_of_the_environment_is_used(tmp_path: Path) -> None:
    done = llmorch_in(tmp_path, "demo", environment={"LLMORCH_MODEL": "offline:echo"})
    assert done.returncode == 0, done.stderr
    assert "Model: offline:echo\n" in done.stdout
    assert "no language model" not in done.stdout


def test_without_a_command_it_says_what_there_is(tmp_path: Path) -> None:
    done = llmorch_in(tmp_path)
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert llmorch_in(tmp_path, "--version").stdout == f"llmorch {llmorch.__version__}\n"


def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "llmorch", "demo"]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(LIMIT_S) in (0, 1)
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_sections_follow_the_headings_and_keep_what_stands_before_them() -> None:
    found = split_sections("Before.\n\n# One\ntext one\n\n## Two ##\n\ntext two\n# Empty\n")
    assert found == [
        Section(title="Beginning", text="Before."),
        Section(title="One", text="text one"),
        Section(title="Two", text="text two"),
    ]


def test_a_text_without_headings_is_cut_between_paragraphs() -> None:
    found = split_sections(PLAIN)
    assert "\n\n".join(section.text for section in found) == PLAIN
    sizes = [len(section.text.split()) for section in found]
    assert all(150 <= size < 200 for size in sizes[:-1])


@pytest.mark.parametrize("text", ["\n".join(f"# {n}\nword" for n in range(1000)), "word word\n\n" * 20_000])
def test_a_long_text_never_becomes_more_than_24_sections(text: str) -> None:
    found = split_sections(text)
    assert 12 <= len(found) <= 24
    assert sum(section.text.count("word") for section in found) == text.count("word")


def test_words_are_counted() -> None:
    sections = [Section(title="a", text="b")]
    assert count_words("one two", sections) == "2 words in 1 section, about 1 minute to read"


def test_the_workflow_has_branches_a_map_and_a_join() -> None:
    plan = llmorch.Orchestrator(model="offline:auto").plan(reading_guide(), text="x")
    assert plan.generations[0] == ("sections", "keywords", "questions")
    assert plan.generations[-1] == ("guide",)
    assert [step.path for step in plan.steps if step.map is not None] == ["summaries"]
    assert len(plan.steps) == 8
