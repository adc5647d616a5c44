"""Where scripts are: found by name or path, and never outside the folders they may come from."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

__all__ = ["EXTENSIONS", "SHIPPED", "ScriptNotFound", "all_scripts", "default_roots", "find_script"]

EXTENSIONS = (".py", ".sh", ".bash", ".js", ".mjs", ".cjs", ".rb")
"""What a file found by a name without extension may end with; such a file may also have none."""

SHIPPED = Path(__file__).parent / "primitives"
"""The scripts that come with llmorch; looked through after every other folder."""

_PROJECT = (".llmorch", ".git", "pyproject.toml")
_HOME = Path(".llmorch") / "scripts"
_SKIPPED = frozenset({"__pycache__", "node_modules"})
_MOST_NAMES = 8
_SHIPPED_PREFIX = "primitives/"


class ScriptNotFound(LookupError):
    """No script is where it was looked for, or what is there may not be run; the text says what to do."""


def default_roots(start: Path | None = None) -> tuple[Path, ...]:
    """`scripts` and `.llmorch/scripts` of the project, as far as they exist.

    The project is the nearest folder, from the working directory upwards, that holds `.llmorch`, `.git` or
    `pyproject.toml`; without one it is the working directory.

    Args:
        start: Looked from there instead of from the working directory.
    """
    here = (start or Path.cwd()).resolve()
    project = next((at for at in (here, *here.parents) if any((at / mark).exists() for mark in _PROJECT)), here)
    places = dict.fromkeys(at / name for at in (here, project) for name in (Path("scripts"), _HOME))
    return tuple(place for place in places if place.is_dir())


def find_script(path_or_name: str, roots: Sequence[Path]) -> Path:
    """The file of a script, with every link resolved.

    Each folder is looked through in turn, then the scripts that come with llmorch: a path is taken from the folder
    itself; a name is found in its subfolders as well, the nearest first. In a name `-` and `_` are the same and the
    extension may be left out. A path may also be absolute, or relative to the working directory, when it ends up inside
    one of the folders.

    Raises:
        ScriptNotFound: There is none, there are several as near, or it is outside the folders or no regular file.
    """
    wanted = PurePosixPath(path_or_name)
    if ".." in wanted.parts:
        raise ScriptNotFound(
            f"the script path {path_or_name!r} goes upwards with '..'; put the script into a script folder, or name "
            "its own folder in Orchestrator(scripts=...)"
        )
    folders = [root.resolve() for root in roots]
    if wanted.is_absolute():
        return _checked(Path(wanted), [*folders, SHIPPED.resolve()], path_or_name)
    for folder in folders:
        found = _in_folder(wanted, folder, path_or_name)
        if found is not None:
            return _checked(found, folders, path_or_name)
    below = Path(wanted).absolute()
    if len(wanted.parts) > 1 and below.exists():
        return _checked(below, folders, path_or_name)
    name = wanted.name if path_or_name.startswith(_SHIPPED_PREFIX) else path_or_name
    found = _in_folder(PurePosixPath(name), SHIPPED, path_or_name)
    if found is not None:
        return found.resolve()
    raise ScriptNotFound(_not_found(path_or_name, roots))


def all_scripts(roots: Iterable[Path]) -> list[tuple[str, Path]]:
    """Every script of the folders and of llmorch, as what to call it by and its file; the first of a name wins."""
    found: dict[str, Path] = {}
    for root in (*roots, SHIPPED):
        for path in _files(root):
            if _looks_runnable(path):
                found.setdefault(path.relative_to(root).as_posix(), path)
    return list(found.items())


def _in_folder(wanted: PurePosixPath, folder: Path, asked: str) -> Path | None:
    """The file that a path or name means in one folder."""
    exact = folder / wanted
    if os.path.lexists(exact) and not exact.is_dir():
        return exact
    near: list[Path] = []
    for path in _files(folder):
        if near and len(path.parts) > len(near[0].parts):
            break
        if _is_meant(wanted, path.relative_to(folder)):
            near.append(path)
    if len(near) > 1:
        names = " and ".join(repr(path.relative_to(folder).as_posix()) for path in near)
        raise ScriptNotFound(f"{asked!r} may be {names} in {folder}; name one of them in full")
    return near[0] if near else None


def _is_meant(wanted: PurePosixPath, path: Path) -> bool:
    """Whether a file answers to a name, or to a path that differs from its own in `-`, `_` and extension only."""
    if len(wanted.parts) > 1 and _plain(str(wanted.parent)) != _plain(path.parent.as_posix()):
        return False
    if _plain(wanted.name) == _plain(path.name):
        return True
    return _plain(wanted.name) == _plain(path.stem) and path.suffix in EXTENSIONS


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _files(root: Path) -> Iterator[Path]:
    """Every file below a folder, the nearest first, then by name; links to folders are not followed."""
    level = [root]
    while level:
        below: list[Path] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue  # it is not there, or not ours to read
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _SKIPPED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                elif not os.path.isdir(entry.path):
                    yield Path(entry.path)
        level = below


def _looks_runnable(path: Path) -> bool:
    if path.name.startswith("_"):
        return False  # what scripts import
    if path.suffix in EXTENSIONS:
        return True
    return not path.suffix and path.is_file() and os.access(path, os.X_OK)


def _checked(path: Path, folders: Sequence[Path], asked: str) -> Path:
    """The real file, when it is a regular one inside the folders."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go in a circle
        raise ScriptNotFound(f"the script {asked!r} cannot be read: {error}") from error
    if not any(real.is_relative_to(folder) for folder in folders):
        where = ", ".join(str(folder) for folder in folders) or "there are none"
        raise ScriptNotFound(
            f"the script {asked!r} is {real}, which is outside the script folders ({where}); move it, or name its "
            "folder in Orchestrator(scripts=...)"
        )
    if not stat.S_ISREG(mode):
        raise ScriptNotFound(f"the script {asked!r} is {real}, which is no regular file")
    return real


def _not_found(asked: str, roots: Sequence[Path]) -> str:
    known = [name for name, _ in all_scripts(roots)]
    by_stem = {_plain(PurePosixPath(name).stem): name for name in reversed(known)}
    close = difflib.get_close_matches(_plain(PurePosixPath(asked).stem), by_stem, n=3, cutoff=0.6)
    where = (
        ", ".join(str(root) for root in roots) or "any script folder (there is neither ./scripts nor .llmorch/scripts)"
    )
    names = [by_stem[name] for name in close]
    if names:
        hint = f"did you mean {' or '.join(repr(name) for name in names)}?"
    else:
        hint = f"there are {', '.join(known[:_MOST_NAMES])}{', ...' if len(known) > _MOST_NAMES else ''}"
    return f"no script {asked!r} in {where}, nor among those that come with llmorch; {hint}"
