"""Workflows as plain data, YAML text and files, and back to what the builder works on.

Reading imports nothing and opens nothing but the file itself: functions and types are those the caller hands in.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from .definition.node import Binding, Ref, refs_in
from .definition.wiring import Draft, DraftStep
from .definition.workflow import StepDef, WorkflowDef, plain_name
from .errors import CodeMissing, WorkflowInvalid
from .models.values import Data
from .templates.bounds import is_list, is_object

__all__ = [
    "MAX_BYTES",
    "MAX_STEPS",
    "AnyPath",
    "Code",
    "by_address",
    "draft_of",
    "from_dict",
    "from_yaml",
    "load",
    "save",
    "to_dict",
    "to_yaml",
]

Code = Mapping[str, object] | Iterable[Callable[..., Any]]  # by address, or functions and types that have their own
AnyPath = str | os.PathLike[str]
MAX_BYTES: Final = 1 << 20
MAX_STEPS: Final = 2_000
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_STEP: Final = re.compile(r"steps\[(\d+)\]")


def to_yaml(definition: WorkflowDef) -> str:
    """The document as YAML text.

    Raises:
        WorkflowInvalid: It has code that no other process can find.
    """
    from ._yaml import dumps

    return dumps(_portable(definition))


def save(definition: WorkflowDef, path: AnyPath) -> None:
    """Write the document to a file as YAML or JSON; a reader, or a crash, meets the old file or the new one.

    Raises:
        ValueError: The file's name ends in neither .yaml, .yml nor .json.
        WorkflowInvalid: The workflow has code that no other process can find.
        OSError: The file cannot be written.
    """
    file = Path(path)
    if _suffix(file) == ".json":
        text = json.dumps(_portable(definition), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = to_yaml(definition)
    _write(file, text.encode("utf-8"))


def to_dict(definition: WorkflowDef) -> dict[str, Data]:
    """The document of a workflow, whoever may find its code."""
    from .definition.document import to_document  # not until a workflow is written or read

    return to_document(definition)


def _portable(definition: WorkflowDef) -> dict[str, Data]:
    from .definition.document import unportable

    found = tuple(unportable(definition))
    if found:
        raise WorkflowInvalid(
            f"Workflow {definition.name!r} cannot be saved, because another process would not find its code:"
            f"{_listed(found)}\nDefine functions and types at the top of a module that others can import, "
            "or keep what to_dict() gives within this process",
            faults=found,
            workflow=definition.name,
        )
    return to_dict(definition)


def _suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"workflow files end in {', '.join(_SUFFIXES)}; {str(file)!r} does not, so rename it")
    return suffix


def _write(file: Path, content: bytes) -> None:
    target = file.resolve()  # a link goes on pointing where it does
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r} to save {file.name!r} in; make it first")
    beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def from_dict(document: Mapping[str, Data], *, code: Code | None = None) -> Draft:
    """The workflow that a document describes, open to changes.

    Raises:
        WorkflowInvalid: Every fault of the document, with its place.
        CodeMissing: A function or type is not in `code`.
    """
    from .definition.document import from_document

    try:
        definition = from_document(document, code=by_address(code))
    except WorkflowInvalid as error:
        faults = [_with_step(fault, document) for fault in error.faults]
        raise WorkflowInvalid(f"the document is no workflow:{_listed(faults)}", faults=faults) from error
    draft = draft_of(definition)
    if document.get("output") is None:
        draft.output = None  # still the only sink, whatever is added
    return draft


def from_yaml(
    text: str, *, code: Code | None = None, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES, source: str = ""
) -> Draft:
    """The workflow that YAML text describes, open to changes; see `from_dict`.

    Args:
        max_steps: More steps than this, nested ones included, are refused.
        max_bytes: Longer text, as UTF-8, is refused.
        source: Names the text in errors.
    """
    from ._yaml import loads

    try:
        document = loads(text, source=source or "<text>", max_bytes=max_bytes)
    except ValueError as error:
        raise WorkflowInvalid(f"this is no YAML document: {error}") from error
    return _bounded(document, code, max_steps)


def load(path: AnyPath, *, code: Code | None = None, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> Draft:
    """The workflow that a file describes, open to changes; errors begin with the file's name.

    Raises:
        ValueError: The file's name ends in neither .yaml, .yml nor .json.
        OSError: The file cannot be read.
        WorkflowInvalid: It is no YAML or JSON (with line and column), too large, or no workflow.
        CodeMissing: A function or type is not in `code`.
    """
    file = Path(path)
    suffix = _suffix(file)
    try:
        text = _read(file, max_bytes)
        if suffix != ".json":
            return from_yaml(text, code=code, max_steps=max_steps, max_bytes=max_bytes, source=file.name)
        return _bounded(_from_json(text), code, max_steps)
    except WorkflowInvalid as error:
        raise WorkflowInvalid(f"{file}: {error.message}", faults=error.faults, workflow=error.workflow) from error
    except CodeMissing as error:
        raise CodeMissing(f"{file}: {error.message}") from error


def _read(file: Path, max_bytes: int) -> str:
    with file.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise WorkflowInvalid(f"the file is larger than {max_bytes} bytes; split it, or raise max_bytes=")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorkflowInvalid(f"byte {error.start} is no UTF-8 text; save the file as UTF-8") from error


def _from_json(text: str) -> Data:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise WorkflowInvalid(f"this is no JSON document: {place}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        what = "nested too deep; flatten it" if isinstance(error, RecursionError) else error
        raise WorkflowInvalid(f"this is no JSON document: {what}") from error


def _unique(pairs: list[tuple[str, Data]]) -> dict[str, Data]:
    fields: dict[str, Data] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {key!r} is there twice; keep one of them")
        fields[key] = value
    return fields


def _no_constant(name: str) -> Data:
    raise ValueError(f"{name} is no finite number; put it in quotes to make it text")


def _bounded(document: Data, code: Code | None, max_steps: int) -> Draft:
    count = sum(1 for _ in _steps_in(document))
    if count > max_steps:
        raise WorkflowInvalid(f"the document has {count} steps; at most {max_steps} are read (raise max_steps=)")
    if not is_object(document):
        raise WorkflowInvalid("the document is no mapping; a workflow has name, steps, and perhaps inputs and output")
    return from_dict(document, code=code)


def _steps_in(document: Data) -> Iterator[Data]:
    """Every step at any depth; the readers have bounded how deep documents are."""
    steps = document.get("steps") if is_object(document) else None
    for step in steps if is_list(steps) else ():
        yield step
        yield from _steps_below(step)


def _steps_below(action: Data) -> Iterator[Data]:
    """The steps of a workflow that stands in a step, also as what is repeated or a branch."""
    if not is_object(action):
        return
    yield from _steps_in(action.get("workflow"))
    yield from _steps_below(action.get("loop"))
    dispatch = action.get("dispatch")
    if is_object(dispatch):
        among = dispatch.get("among")
        for part in (*(among.values() if is_object(among) else ()), dispatch.get("otherwise")):
            yield from _steps_below(part)


def by_address(code: Code | None) -> Mapping[str, object]:
    """What was handed in, by `module:qualname`."""
    from .definition.document_type import address_of

    if code is None or isinstance(code, Mapping):
        return cast("Mapping[str, object]", code or {})
    if isinstance(code, str) or not isinstance(cast(object, code), Iterable):
        raise TypeError(f"code= takes a mapping of address -> object, or a list of functions and types, not {code!r}")
    found: dict[str, object] = {}
    for thing in code:
        if not hasattr(thing, "__module__") or not hasattr(thing, "__qualname__"):
            raise TypeError(f"code= holds {thing!r}, which has no address of its own; pass {{'module:name': it}}")
        address = address_of(cast(type, thing))
        if found.setdefault(address, thing) is not thing:
            raise ValueError(f"code= holds two different things that are both {address}; pass a mapping with one")
    return found


def _with_step(fault: str, document: Mapping[str, Data]) -> str:
    """The fault with the name of the step whose number begins it: people do not count steps."""
    found = _STEP.match(fault)
    steps = document.get("steps")
    if found is None or not is_list(steps):
        return fault
    step = steps[int(found.group(1))]
    name = step.get("name") if is_object(step) else None
    return f"{found.group()} ({name!r}){fault[found.end() :]}" if isinstance(name, str) else fault


def _listed(faults: Iterable[str]) -> str:
    return "".join(f"\n  - {fault}" for fault in faults)


def draft_of(definition: WorkflowDef) -> Draft:
    """What, when wired, gives the definition; what its names say by themselves is left to them again.

    So a step may be replaced by one that reads something else.
    """
    return Draft(
        name=definition.name,
        owner=next(_owners(definition), None),
        description=definition.description,
        on_error=definition.on_error,
        inputs={name: spec for name, spec in definition.inputs.items() if not spec.implied},
        steps=[_draft_step(step) for step in definition.steps],
        output=definition.output,
        checks=definition.checks,
    )


def _draft_step(step: StepDef) -> DraftStep:
    when: str | Ref[Any] | None = None
    bindings: dict[str, Binding] = {}
    if step.when is not None:
        lone = step.when.bindings.get("")
        when = lone if isinstance(lone, Ref) else step.when.expression
        bindings.update((name, binding) for name, binding in step.when.bindings.items() if name)
    bindings.update(step.bindings)
    return DraftStep(
        name=step.name,
        action=step.action,
        bindings={name: binding for name, binding in bindings.items() if not _is_lookup(name, binding)},
        when=when,
        after=step.after,
        on_error=step.on_error,
        timeout=step.timeout,
        on_unknown=step.on_unknown,
        map=step.map,
    )


def _is_lookup(name: str, binding: Binding) -> bool:
    """Whether wiring would find the same: the step or input of that name."""
    return isinstance(binding, Ref) and not binding.path and plain_name(binding.source) == plain_name(name)


def _owners(definition: WorkflowDef) -> Iterator[object]:
    """The workflow whose references these are, found as often as there are references; none in a document."""
    for step in definition.steps:
        for binding in (*step.bindings.values(), *(step.when.bindings.values() if step.when is not None else ())):
            yield from (ref.owner for ref in refs_in(binding) if ref.owner is not None)
    if definition.output is not None:
        yield from (ref.owner for ref in refs_in(definition.output) if ref.owner is not None)
