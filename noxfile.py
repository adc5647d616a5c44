"""What is checked and built, by name: `nox` alone runs lint, types, arch and tests; `nox -l` lists all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "arch", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely bugs, spelling."""
    session.install("ruff", "codespell[toml]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, on `src`."""
    session.install("-e", ".[types]")
    session.run("mypy")
    session.run("pyright")


@nox.session
def arch(session: nox.Session) -> None:
    """Floors, ceilings, the public face, what `import llmorch` loads."""
    session.install("-e", ".[test]", "ruff")
    session.run("pytest", "tests/architecture", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, with every extra installed."""
    session.install("-e", ".[all,dev]")
    session.run("pytest", *session.posargs)


@nox.session
def tests_core(session: nox.Session) -> None:
    """The tests that need nothing but the base dependencies, with no extra installed."""
    session.install("-e", ".[test]", "ruff")
    session.run("pytest", "--ignore=tests/typing", *session.posargs)


@nox.session
def durability(session: nox.Session) -> None:
    """The long proofs: cancelled calls over each transport and backend, killed processes, random workflows."""
    session.install("-e", ".[postgres,test]")
    session.run(
        "pytest",
        "--override-ini=faulthandler_timeout=3600",  # a test takes many minutes here, but not for ever
        "tests/durability",
        "tests/wire/test_cancel_storm.py",
        "tests/flow/test_reference.py",
        "tests/flow/test_resume_anywhere.py",
        *session.posargs,
        env=_long(),
    )


@nox.session
def mutants(session: nox.Session) -> None:
    """Bugs are put into a copy of the package one after the other, and the tests must notice each of them."""
    session.install("-e", ".[postgres,test]")
    session.run("python", "-m", "tests.mutants", *session.posargs, env=_long())


def _long() -> dict[str, str]:
    """For proofs in their long form, which keep their figures for `python -m tests.durability.report`."""
    kept = os.environ.get("LLMORCH_RESULTS")
    return {"LLMORCH_LONG": "1"} if kept is None else {"LLMORCH_LONG": "1", "LLMORCH_RESULTS": kept}


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, strictly built, and every code block in them."""
    session.install("-e", ".[docs,test]")
    session.run("mkdocs", "build", "--strict")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Figures beside the raw floor of the same run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the sdist, and what is in the wheel."""
    session.install("build")
    out = Path(session.create_tmp())
    for old in out.glob("llmorch-*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(out))
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = {path.relative_to("src").as_posix() for path in Path("src/llmorch").rglob("*.py")}
    missing = sorted((sources | {"llmorch/py.typed"}) - set(names))
    strange = sorted(name for name in names if not name.startswith(("llmorch/", "llmorch-")))
    if missing or strange or not any(name.endswith("licenses/LICENSE") for name in names):
        session.error(f"{wheel.name}: missing {missing}, strange {strange}, or no LICENSE")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities in what we depend on."""
    session.install(".", "pip-audit")
    session.run("pip-audit", "--skip-editable", "--local")
