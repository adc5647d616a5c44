"""Every example runs as a reader would run it, without a key, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("patterns/*.py")])
LIMIT_S = 60


def output_of(name: str, folder: Path) -> str:
    """What the example prints, run in an empty folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
    return done.stdout


def test_every_example_is_listed_and_tested_here() -> None:
    files = {path.relative_to(EXAMPLES).as_posix() for path in PROGRAMS}
    listed = set(re.findall(r"`([\w/]+\.py)`", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    tested = set(re.findall(r'output_of\("([\w/]+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    assert files == listed == tested


def test_the_quickstart_prints_its_plan_and_a_card_made_of_the_text(tmp_path: Path) -> None:
    printed = output_of("quickstart.py", tmp_path)
    assert printed.startswith("Workflow 'library-card': 3 steps in 2 generations\n")
    assert "Nothing was sent." in printed
    assert re.search(r"^[A-Z, ]+\n.*\bbee\b", printed, re.MULTILINE)
    assert re.search(r"^succeeded: 2 calls, [\d]+ tokens, \$0$", printed, re.MULTILINE)


def test_the_article_becomes_a_post_with_facts_bound_into_the_second_prompt(tmp_path: Path) -> None:
    printed = output_of("article_to_post.py", tmp_path)
    assert re.search(r"^  1  extract .* openai:gpt-5-mini ", printed, re.MULTILINE)
    assert "[system] You write in plain style for engineers." in printed
    assert "[user] Write a post titled Bees dance from:\n- Bees dance on the comb.\n- The angle" in printed
    assert "\nBees dance. The angle says where, the length says how far.\nBees dance 0.000" in printed


def test_the_checks_tell_what_is_wrong_with_a_reply_that_a_judge_likes(tmp_path: Path) -> None:
    printed = output_of("checked.py", tmp_path)
    assert re.search(r"^  kind +judged +scripted:m +1-", printed, re.MULTILINE)
    assert "\nFAILED refund: it is false: inputs.paid is 40, output.refund is 40\n" in printed
    assert "\npassed kind: It apologizes and names the refund.\n" in printed
    assert printed.endswith("succeeded: 2 calls, checks failed\n")


def test_the_panel_decides_although_one_member_is_absent(tmp_path: Path) -> None:
    printed = output_of("panel.py", tmp_path)
    assert re.findall(r"^(\w+) +vote-\d$", printed, re.MULTILINE) == ["succeeded"] * 3 + ["failed"]
    assert "vote-3 failed: " in printed
    assert len(re.findall(r"^succeeded  check\[\d\]$", printed, re.MULTILINE)) > 1
    assert re.search(r"\n\npartial\n\w.*\.\n$", printed)


def test_a_stream_shows_the_text_in_order_and_ends_when_it_is_left(tmp_path: Path) -> None:
    printed = output_of("stream.py", tmp_path)
    assert {"pros: It keeps bread fresh for a week.", "cons: It takes two days and some patience."} < set(
        printed.splitlines()
    )
    assert printed.endswith(
        "Sourdough is worth it, if you bake on Sundays.\nsucceeded, 3 calls\nleft early: cancelled\n"
    )


def test_a_batch_gives_each_row_its_own_result(tmp_path: Path) -> None:
    lines = output_of("batch.py", tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["0 kettle", "1 lamp", "2 chair"]
    for line in lines:
        row, found = line.split(": ")
        assert row.split()[1] in found


def test_people_decide_while_no_process_waits(tmp_path: Path) -> None:
    printed = output_of("approval.py", tmp_path)
    assert printed.splitlines() == [
        "waiting ['teaser', 'review']",
        "waiting shorter | How do bees talk?",
        "Step 'post' wants to use the tool 'publish' with {\"title\": \"Bees Dance\"}. May it?",
        "succeeded The post is out.",
        "published as bees-dance.html",
    ]


def test_hooks_see_events_and_refuse_a_call(tmp_path: Path) -> None:
    printed = output_of("hooks.py", tmp_path)
    assert "start    fine" in printed
    assert "partial {'fine': 'Tell me about tea.', 'leak': None}" in printed
    assert printed.endswith("failed: ['leak']; sent: 1\n")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(EXAMPLES).as_posix())
def test_an_example_uses_only_what_is_public(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"^(?:from|import) (llmorch[\w.]*)", text, re.MULTILINE)
    assert imported
    assert not [name for name in imported if any(part.startswith("_") for part in name.split("."))]


def test_three_vendors_answer_one_workflow_with_tools_types_a_budget_and_limits(tmp_path: Path) -> None:
    printed = output_of("three_vendors.py", tmp_path)
    assert re.match(r"succeeded: 7 calls, \d+ tokens, \$0\.000\d+\n", printed)
    assert 'openai:gpt-5-mini            2 calls  depth_of({"lake": "Baikal"}) = 1642.0' in printed
    assert re.search(r"^claim\[0\] +anthropic:claude-sonnet-4-5 +1 calls", printed, re.MULTILINE)
    assert re.search(r"^summary +gemini:gemini-2\.5-flash +1 calls", printed, re.MULTILINE)
    assert "claims: Claim(text='text', weight='light') ..." in printed
    assert "again: 4 calls, the other answers came from the cache" in printed


def test_the_library_keeps_versions_and_refuses_to_delete_what_is_used(tmp_path: Path) -> None:
    printed = output_of("library.py", tmp_path)
    assert "draft 1 is made of voice 2\n" in printed
    assert "+text: Write plainly, for sailors.\n" in printed
    assert "refused: Block 'tone-of-voice' in folder 'House style' is used by payload 'draft'" in printed
    assert "copied: 3 added, 0 changed, 0 the same\nonce more: 0 added, 0 changed, 3 the same\n" in printed


def test_a_killed_run_is_finished_by_another_process_and_only_the_call_in_flight_is_repeated(tmp_path: Path) -> None:
    printed = output_of("durable.py", tmp_path)
    assert printed.startswith("in the first process: in flight\nkilled: -9\nsucceeded | A KEEPER LIT THE LAMP")
    assert "to run again: post\n" in printed
    assert "summary   started 1x, 1 calls, 0 of them without an answer\n" in printed
    assert "headline  started 1x, 0 calls, 0 of them without an answer\n" in printed
    assert "post      started 2x, 2 calls, 1 of them without an answer\n" in printed


def test_scripts_of_two_languages_and_a_shipped_one_work_together(tmp_path: Path) -> None:
    printed = output_of("script_steps.py", tmp_path)
    assert printed == "succeeded {'loud': 'QUESTION!', 'found': {'words': 5}, 'missing': ['year']}\n"


def test_a_chain_makes_each_answer_of_the_one_before(tmp_path: Path) -> None:
    lines = dict(line.split(": ", 1) for line in output_of("patterns/chain.py", tmp_path).splitlines())
    assert list(lines) == ["summary", "keywords", "title"]
    assert lines["title"] == f"About {lines['keywords']}"


def test_a_panel_answers_though_a_model_does_not_exist(tmp_path: Path) -> None:
    printed = output_of("patterns/panel.py", tmp_path)
    assert re.findall(r"^(\w+) +offline:", printed, re.MULTILINE) == ["succeeded", "succeeded", "failed"]
    assert re.search(r"^partial: \w.*\.$", printed, re.MULTILINE)


def test_a_document_is_read_in_parts(tmp_path: Path) -> None:
    lines = output_of("patterns/map_reduce.py", tmp_path).splitlines()
    counted = re.fullmatch(r"\d+ characters in (\d+) parts", lines[0])
    assert counted is not None
    assert sum(line.startswith("- ") for line in lines) == int(counted[1]) > 5


def test_a_critic_sends_a_draft_back_until_it_is_content(tmp_path: Path) -> None:
    lines = output_of("patterns/critic_loop.py", tmp_path).splitlines()
    assert [line.split(" | ")[1] for line in lines[:3]] == [
        "say something one can see", "no two adjectives", "approved",
    ]  # fmt: skip
    assert lines[3].endswith("Mind: no two adjectives")
    assert lines[4] == "output: The sea was old before the first keel."


def test_a_router_takes_another_branch_for_each_kind(tmp_path: Path) -> None:
    printed = output_of("patterns/router.py", tmp_path)
    assert re.findall(r"-> (\w+)", printed) == ["bug", "praise", "otherwise"]


def test_a_plan_is_followed_in_the_second_round(tmp_path: Path) -> None:
    printed = output_of("patterns/planner_responder_critic.py", tmp_path)
    assert "answer/refine@0/verdict: approved=False" in printed
    assert "answer/refine@1/verdict: approved=True" in printed
    assert "output: Boil water, warm the pot" in printed


def test_the_best_of_three_is_taken(tmp_path: Path) -> None:
    printed = output_of("patterns/best_of_n.py", tmp_path)
    assert printed.endswith("best: Walk further. (it is short and promises something)\n")
