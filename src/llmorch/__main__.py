"""`python -m llmorch`: what runs without the `cli` extra."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__

__all__ = ["main"]

_STOPPED = 130  # as shells number a stop by Ctrl-C
_SCRIPTS = "List, show and try scripts. Exit codes: 0, 1 when the script failed, 2 for a mistake in the command."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 when a run failed, 2 for a mistake of the user."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows "?" instead of a traceback
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if options.command == "scripts":
        return _scripts(options)
    return _demo(options.file, model=options.model, out=options.out)


def _scripts(options: argparse.Namespace) -> int:
    from .script_commands import run_command

    return run_command(options)


def _demo(file: Path | None, *, model: str | None, out: Path) -> int:
    from .demo import Mistake, demo
    from .errors import LLMOrchError

    try:
        return demo(file, model=model, out=out)
    except Mistake as error:
        print(f"llmorch demo: {error}", file=sys.stderr)
        return 2
    except LLMOrchError as error:
        print(f"llmorch demo: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it exits
        return 1
    except OSError as error:  # a full disk, or an output that cannot be written
        print(f"llmorch demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("llmorch demo: stopped", file=sys.stderr)
        return _STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmorch", description="Build, run and trust workflows of LLM calls.")
    parser.add_argument("--version", action="version", version=f"llmorch {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="run a workflow on a real text, without a key if you like",
        description="Turn a text into a reading guide: summaries of its sections, an abstract, keywords, questions.",
    )
    demo.add_argument("file", nargs="?", type=Path, help="a text file (default: an article that comes with llmorch)")
    demo.add_argument(
        "--model", help="such as openai:gpt-5-mini (default: LLMORCH_MODEL, else the offline provider, which is no LLM)"
    )
    demo.add_argument(
        "--out", type=Path, default=Path("llmorch-demo"), help="folder for report.md and events.jsonl (%(default)s)"
    )
    _add_scripts(commands.add_parser("scripts", help="list, show and try scripts", description=_SCRIPTS))
    return parser


def _add_scripts(scripts: argparse.ArgumentParser) -> None:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--root",
        dest="roots",
        metavar="FOLDER",
        type=Path,
        action="append",
        help="a folder of scripts; may be repeated (default: ./scripts and .llmorch/scripts of the project)",
    )
    verbs = scripts.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", parents=[place], help="every script, with what it says of itself")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = verbs.add_parser("show", parents=[place], help="one script: its file, description, parameters and returns")
    show.add_argument("name", help="a name or path, as Script(...) takes it")
    show.add_argument("--json", action="store_true", help="as JSON")
    test = verbs.add_parser("test", parents=[place], help="run one script and print its value")
    test.add_argument("name", help="a name or path, as Script(...) takes it")
    test.add_argument("--parameters", metavar="JSON", default="{}", help="its parameters, a JSON object")
    test.add_argument("--input", metavar="TEXT", help="its input; a JSON object or list is given as such")
    test.add_argument("--interpreter", metavar="PROGRAM", help="what runs it (default: by its extension)")
    test.add_argument("--timeout", metavar="SECONDS", type=float, default=60.0, help="its time (%(default)g)")
    test.add_argument("--env", metavar="NAME", action="append", default=[], help="a variable it is given; repeatable")


if __name__ == "__main__":
    sys.exit(main())
