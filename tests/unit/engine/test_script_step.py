"""The contract of a script step: what the script is told, and what its output comes to."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import textwrap
from pathlib import Path
from time import monotonic

import pytest

from llmorch import StepError, TimedOut, ValueRefused
from llmorch.credentials.inherited import inherited
from llmorch.engine.steps.script import LONGEST_VARIABLE, run_script
from llmorch.models.script import Script
from llmorch.models.values import Data

pytestmark = pytest.mark.anyio

ECHO = """
    import json, os, sys
    told = json.load(sys.stdin)
    print(json.dumps({"told": told, "env": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv}))
"""


class Folder:
    """A folder of scripts, and how to run them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(textwrap.dedent(text), encoding="utf-8")

    async def run(self, script: Script | str, *, statuses: dict[str, str] | None = None, **bound: Data) -> Data:
        script = Script(script) if isinstance(script, str) else script
        return await run_script(script, bound, path="a/step", roots=[self.path], statuses=statuses)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_a_script_is_told_its_input_parameters_and_dependencies(folder: Folder) -> None:
    folder.write("echo.py", ECHO)
    script = Script("echo", parameters={"fields": ["a"], "deep": {"b": None}})
    found = await folder.run(script, input={"n": 1}, facts=["x"], weak=None, statuses={"weak": "skipped"})
    assert found["told"] == {
        "input": {"n": 1},
        "parameters": {"fields": ["a"], "deep": {"b": None}},
        "context": {},
        "dependencies": {
            "facts": {"response": ["x"], "status": "success"},
            "weak": {"response": None, "status": "skipped"},
        },
    }
    assert found["argv"] == [str((folder.path / "echo.py").resolve())]
    assert found["cwd"] == os.getcwd()


async def test_without_an_input_it_is_empty_text(folder: Folder) -> None:
    folder.write("echo.py", ECHO)
    found = await folder.run("echo")
    assert found["told"] == {"input": "", "parameters": {}, "context": {}, "dependencies": {}}
    assert [found["env"][name] for name in ("INPUT_DATA", "INPUT_TEXT", "AGENT_PARAMETERS")] == ["", "", "{}"]


@pytest.mark.parametrize(("given", "text"), [("two\nlines é", "two\nlines é"), ({"n": 1}, '{"n":1}'), ([1], "[1]")])
async def test_the_environment_has_the_input_as_text(folder: Folder, given: Data, text: str) -> None:
    folder.write("echo.py", ECHO)
    env = (await folder.run(Script("echo", parameters={"p": 1}), input=given))["env"]
    assert (env["INPUT_DATA"], env["INPUT_TEXT"], env["AGENT_PARAMETERS"]) == (text, text, '{"p":1}')


async def test_with_dependencies_input_data_has_them_with_responses_as_text(folder: Folder) -> None:
    folder.write("echo.py", ECHO)
    env = (await folder.run("echo", input="task", facts={"a": 1}, draft="words"))["env"]
    assert env["INPUT_TEXT"] == "task"
    assert json.loads(env["INPUT_DATA"]) == {
        "agent_name": "a/step",
        "input_data": "task",
        "context": {},
        "dependencies": {
            "facts": {"response": '{"a":1}', "status": "success"},
            "draft": {"response": "words", "status": "success"},
        },
    }


async def test_what_fits_into_no_variable_is_left_out_and_standard_input_has_it(folder: Folder) -> None:
    folder.write("echo.py", ECHO)
    room = LONGEST_VARIABLE - len("INPUT_DATA=") - 1
    assert len((await folder.run("echo", input="x" * room))["env"]["INPUT_DATA"]) == room
    for large in ("x" * (room + 1), "x" * 5_000_000, "a\0b"):
        found = await folder.run("echo", input=large)
        assert found["told"]["input"] == large
        assert "INPUT_DATA" not in found["env"]
    folder.write("fail.py", "raise SystemExit(1)")
    with pytest.raises(StepError, match="INPUT_DATA and INPUT_TEXT were not set: over 128 KiB"):
        await folder.run("fail", input="x" * (room + 1))


async def test_keys_stay_here_and_what_is_named_goes_along(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("echo.py", ECHO)
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key")
    monkeypatch.setenv("MY_SETTING", "canary-setting")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    env = (await folder.run("echo"))["env"]
    assert not any("canary" in value for value in env.values())
    assert (env["PATH"], env["LC_ALL"]) == (os.environ["PATH"], "C.UTF-8")
    env = (await folder.run(Script("echo", env=["MY_SETTING", "NOT_SET"])))["env"]
    assert env["MY_SETTING"] == "canary-setting"
    assert "NOT_SET" not in env
    assert inherited(["OPENAI_API_KEY"])["OPENAI_API_KEY"] == "canary-key"


async def test_what_was_named_is_kept_out_of_errors(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-0123456789")
    text = "import os, sys\nprint('{\"error\": \"%s\"}' % os.environ['MY_TOKEN'])\nsys.exit(os.environ['MY_TOKEN'])"
    folder.write("leak.py", text)
    with pytest.raises(StepError) as caught:
        await folder.run(Script("leak", env=["MY_TOKEN"]))
    assert "canary" not in str(caught.value)
    assert str(caught.value).count("[redacted]") == 2


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ('{"success": true, "data": {"a": [1, null]}}', {"success": True, "data": {"a": [1, None]}}),
        ('\n  {"output": "x"}\n\n', {"output": "x"}),
        ('{"error": "only a word"}', {"error": "only a word"}),
        ("{}", {}),
        ("hello\n\n", "hello"),
        ("  two\n  lines\r\n", "  two\n  lines"),
        ("", ""),
        ("[1, 2]\n", "[1, 2]"),
        ("42", "42"),
        ('{"a": 1} and more', '{"a": 1} and more'),
        ("\ufeff{}", {}),
        ("grüße", "grüße"),
    ],
)
async def test_an_object_is_the_value_and_other_text_is_text(folder: Folder, printed: str, value: Data) -> None:
    encoded = base64.b64encode(printed.encode()).decode()
    folder.write("say.py", f"import base64, sys\nsys.stdout.buffer.write(base64.b64decode('{encoded}'))")
    assert await folder.run("say") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('print(\'{"success": false, "error": "no such page"}\')', "says that it failed: no such page; mend it"),
        ("print('{\"success\": false}')", "says that it failed; mend it, or its input"),
        ('import sys; print(\'{"error": {"a": 1}}\'); sys.exit(4)', r'ended with exit code 4: \{"a":1\}'),
        ("import sys; sys.exit('why')", "ended with exit code 1; .* standard error ends with: why"),
        ("import os; os.kill(os.getpid(), 9)", "ended with signal SIGKILL"),
        ("raise KeyError('x')", r"exit code 1; .*KeyError: 'x'"),
        ("print('{\"a\":' * 100000)", "nested too deeply"),
    ],
)
async def test_a_failure_says_why_and_what_to_do(folder: Folder, text: str, message: str) -> None:
    folder.write("bad.py", text)
    with pytest.raises(StepError, match=f"(?s)^Step 'a/step': the script 'bad.py' .*{message}") as caught:
        await folder.run("bad")
    assert caught.value.step == "a/step"


async def test_output_that_is_no_data_is_refused(folder: Folder) -> None:
    folder.write("nan.py", "print('{\"a\": NaN}')")
    with pytest.raises(ValueRefused, match="the output of step 'a/step' holds nan at 'a'"):
        await folder.run("nan")


async def test_of_long_errors_the_end_is_shown(folder: Folder) -> None:
    folder.write("bad.py", "import sys\nsys.exit('begin' + 'x' * 100_000 + 'end')")
    with pytest.raises(StepError) as caught:
        await folder.run("bad")
    assert "begin" not in str(caught.value)
    assert str(caught.value).endswith("xend")
    assert len(str(caught.value)) < 2500


async def test_a_timeout_names_itself(folder: Folder) -> None:
    folder.write("slow.py", "import time\ntime.sleep(60)")
    with pytest.raises(TimedOut, match=r"longer than its timeout of 0\.2 s and was ended; give it more with timeout="):
        await folder.run(Script("slow", timeout=0.2))


async def test_a_script_that_cleans_up_at_term_may(folder: Folder) -> None:
    text = """
        import pathlib, signal, sys, time
        def clean(*_):
            pathlib.Path(__file__).with_name("cleaned").touch()
            sys.exit()
        signal.signal(signal.SIGTERM, clean)
        time.sleep(60)
    """
    folder.write("slow.py", text)
    with pytest.raises(TimedOut):
        await folder.run(Script("slow", timeout=2))
    assert (folder.path / "cleaned").exists()


async def test_signals_that_this_process_blocks_or_ignores_reach_the_script(folder: Folder) -> None:
    folder.write("slow.py", "import signal, sys\nsignal.sigwait([signal.SIGUSR1])")
    folder.write("fast.py", "print('done')")
    usual = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
    try:
        begun = monotonic()
        with pytest.raises(TimedOut):
            await folder.run(Script("slow", timeout=0.5))
        assert monotonic() - begun < 2.4  # it was not KILL, which comes after 2.5 s
        assert await folder.run("fast") == "done"
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGTERM, usual)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (Script("nope"), "Step 'a/step' cannot run its script: no script 'nope' in"),
        (Script("../x"), "goes upwards"),
        (Script("a.py", interpreter="no-such-program"), "needs 'no-such-program', which is not installed"),
        (Script("plain"), "say so with interpreter="),
    ],
)
async def test_what_cannot_be_started_is_told_plainly(folder: Folder, script: Script, message: str) -> None:
    folder.write("a.py", "")
    folder.write("plain", "")
    with pytest.raises(StepError, match=message) as caught:
        await folder.run(script)
    assert caught.value.step == "a/step"


async def test_a_program_the_system_cannot_start_is_told_plainly(folder: Folder) -> None:
    folder.write("a.py", "")
    (folder.path / "broken").write_bytes(b"\x7fELF")
    (folder.path / "broken").chmod(0o755)
    with pytest.raises(StepError, match="could not be started: Exec format error; see interpreter="):
        await folder.run(Script("a.py", interpreter=str(folder.path / "broken")))


@pytest.mark.parametrize(
    ("name", "text", "needs"),
    [
        ("loud.sh", 'echo "$INPUT_TEXT" | tr a-z A-Z', "bash"),
        ("loud.js", "console.log(JSON.parse(require('fs').readFileSync(0)).input.toUpperCase())", "node"),
        ("loud.rb", 'require "json"\nputs JSON.parse(STDIN.read)["input"].upcase', "ruby"),
        ("loud", "#!/usr/bin/env python3\nimport os; print(os.environ['INPUT_DATA'].upper())", "env"),
    ],
)
async def test_each_language_runs(folder: Folder, name: str, text: str, needs: str) -> None:
    if shutil.which(needs) is None:
        pytest.skip(f"{needs} is not installed")
    folder.write(name, text)
    assert await folder.run("loud", input="tea") == "TEA"


# Scripts in the style of LLM Orchestra, written from its documented contract; each must run unchanged.

READS_STDIN = """
    import json, sys
    config = json.loads(sys.stdin.read()) if not sys.stdin.isatty() else {}
    parameters = config.get("parameters", {})
    text = config.get("input", "").strip()
    counted = {"words": len(text.split()), "limit": parameters.get("limit", 5)}
    print(json.dumps({"success": True, "data": counted}, indent=2))
"""
READS_INPUT_DATA = """
    import json, os
    text = os.environ.get("INPUT_DATA", "{}")
    data = json.loads(text) if text.startswith("{") else {"input_data": text}
    upstream = {name: json.loads(found["response"]) for name, found in data.get("dependencies", {}).items()}
    merged = {"source": data["input_data"]}
    for found in upstream.values():
        merged.update(found)
    print(json.dumps({"success": True, "data": merged, "error": None}))
"""
READS_AGENT_PARAMETERS = """
    import json, os, sys
    parameters = json.loads(os.environ.get("AGENT_PARAMETERS", "{}"))
    if not parameters.get("path"):
        print(json.dumps({"success": False, "error": "path is required"}))
        sys.exit(0)
    print(json.dumps({"success": True, "output": parameters["path"].upper()}))
"""
READS_TEXT = """
    #!/bin/bash
    set -euo pipefail
    words=$(printf '%s' "$INPUT_TEXT" | wc -w)
    printf '{"success": true, "words": %d}\\n' "$words"
"""
READS_DEPENDENCIES = """
    import json, sys
    told = json.load(sys.stdin)
    dependencies = told.get("dependencies", {})
    failed = [name for name, found in dependencies.items() if found.get("status") != "success"]
    print(json.dumps({"success": not failed, "texts": [found["response"] for found in dependencies.values()]}))
"""


async def test_scripts_of_llm_orchestra_run_unchanged(folder: Folder) -> None:
    for name, text in {
        "reads_stdin.py": READS_STDIN,
        "reads_input_data.py": READS_INPUT_DATA,
        "reads_agent_parameters.py": READS_AGENT_PARAMETERS,
        "reads_text.sh": READS_TEXT,
        "reads_dependencies.py": READS_DEPENDENCIES,
    }.items():
        folder.write(name, textwrap.dedent(text).lstrip())
    limited = Script("reads-stdin", parameters={"limit": 9})
    assert await folder.run(limited, input="a b c") == {"success": True, "data": {"words": 3, "limit": 9}}
    merged = {"source": "x", "a": 1, "b": 2}
    assert (await folder.run("reads_input_data", input="x", one={"a": 1}, two={"b": 2}))["data"] == merged
    assert (await folder.run("reads_input_data", input="x"))["data"] == {"source": "x"}
    assert (await folder.run(Script("reads_agent_parameters", parameters={"path": "p"})))["output"] == "P"
    with pytest.raises(StepError, match="says that it failed: path is required"):
        await folder.run("reads_agent_parameters")
    assert await folder.run("reads_text", input="one two\nthree") == {"success": True, "words": 3}
    assert (await folder.run("reads_dependencies", review="good", draft="bad"))["texts"] == ["good", "bad"]


async def test_a_large_input_goes_through_whatever_the_script_reads_of_it(folder: Folder) -> None:
    large = "é" * 3_000_000
    folder.write("all.py", "import json, sys\nprint(len(json.load(sys.stdin)['input']))")
    folder.write("none.py", "import os\nos.close(0)\nprint('none')")
    folder.write("some.py", "import os\nprint(len(os.read(0, 10)))")
    assert [await folder.run(name, input=large) for name in ("all", "none", "some")] == ["3000000", "none", "10"]


async def test_sixteen_mebibytes_are_the_most(folder: Folder) -> None:
    folder.write("much.py", "import json, sys\nsys.stdout.write('x' * json.load(sys.stdin)['input'])")
    assert len(await folder.run("much", input=16 * 2**20)) == 16 * 2**20
    with pytest.raises(StepError, match="printed more than 16 MiB"):
        await folder.run("much", input=16 * 2**20 + 1)


async def test_no_shell_reads_a_path(folder: Folder) -> None:
    name = "a b; touch $(pwd)'x.py"
    folder.write(name, "print('fine')")
    assert await folder.run(name) == "fine"
