"""The definition of a run as a store keeps it: once for each sha, and found again in any process.

`stored` writes it, `rebuilt` gives back the definition exactly as it was, whatever the workflow of that name has become
since, and `changed` says which code is no longer what it was. `stored_form.py` describes the form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from .._json import dumps
from ..errors import CodeMissing, StoreCorrupt, StoreError
from ..models.values import Data
from ..templates.bounds import is_list, is_object
from .actions import OTHERWISE
from .stored_code import Code
from .stored_form import FORMAT, stored
from .stored_read import StoredReader, workflow_from
from .workflow import WorkflowDef

__all__ = ["changed", "rebuilt", "stored"]

_MOST_SHOWN = 5


def rebuilt(
    body: Mapping[str, Data],
    known: Iterable[WorkflowDef],
    *,
    run_id: str = "",
    sha: str = "",
    needs_code: bool = True,
) -> WorkflowDef:
    """The definition that was stored, with its code taken from the workflows this process knows; nothing is imported.

    A registered workflow that would be stored just like this is given back itself.

    Args:
        body: As `stored` wrote it.
        known: Registered workflows. Code is looked for by workflow name, then step name and address; then by address
            in that workflow; then by address in all of them.
        run_id: Names the run in errors.
        sha: What the body was stored under; given, the body is checked against it.
        needs_code: Off for who only reads what a run gave: functions and tools that are not at hand cannot be called
            then, and what has a type that is not at hand is plain data.

    Raises:
        CodeMissing: A function, tool or type is in none of the workflows; all of them are named.
        StoreCorrupt: The body is damaged, or was never written by llmorch.
        StoreError: The body was written by a later version of llmorch.
    """
    what = f"The definition of run {run_id}" if run_id else "The stored definition"
    form = _opened(body, what, run_id=run_id, sha=sha)
    name = form.get("name")
    code = Code(name if isinstance(name, str) else "", known)
    reader = StoredReader(code, needs_code=needs_code)
    try:
        definition = workflow_from(reader, form, twins=code.twins)
        if definition is not None and not reader.faults:
            stored(definition)  # what can be stored again is sound; and `changed` asks for it next
    except Exception as error:  # damaged data breaks whatever it is given to, such as pydantic
        _refuse(what, [str(error) or type(error).__name__], run_id=run_id, cause=error)
    if reader.missing and len(reader.missing) == len(reader.faults):
        raise _missing(reader, str(name), run_id=run_id, is_known=bool(code.twins))
    if reader.faults or definition is None:
        _refuse(what, reader.faults, run_id=run_id)
    return definition


def _opened(body: Mapping[str, Data], what: str, *, run_id: str, sha: str) -> dict[str, Data]:
    """The workflow's form, when the body is whole and of a known format."""
    version = body.get("format")
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        raise StoreError(
            f"{what} has format {version}; this llmorch reads formats up to {FORMAT}, so update it", run_id=run_id
        )
    form = body.get("workflow")
    if version != FORMAT or isinstance(version, bool) or not is_object(form):
        _refuse(what, ["it has no format and workflow"], run_id=run_id)
    try:
        is_whole = not sha or hashlib.sha256(dumps(body).encode("ascii")).hexdigest() == sha
    except (TypeError, ValueError, RecursionError) as error:
        _refuse(what, [str(error)], run_id=run_id, cause=error)
    if not is_whole:
        _refuse(what, [f"it does not have the sha {sha} under which it was stored"], run_id=run_id)
    return form


def _refuse(what: str, faults: list[str], *, run_id: str, cause: BaseException | None = None) -> NoReturn:
    more = f"; and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
    raise StoreCorrupt(
        f"{what} cannot be read: {'; '.join(faults[:_MOST_SHOWN])}{more}. It is damaged, or was not written by "
        "llmorch; restore the store from a backup, or start the run anew",
        run_id=run_id or None,
    ) from cause


def _missing(reader: StoredReader, name: str, *, run_id: str, is_known: bool) -> CodeMissing:
    what = f"Run {run_id} of workflow {name!r}" if run_id else f"Workflow {name!r}"
    listed = "".join(f"\n  - {lacking}" for lacking in reader.lacking)
    todo = (
        f"The registered {name!r} has no such code any more: register the workflow it was, or one that has that code,"
        if is_known
        else f"Register {name!r}, or a workflow that has that code,"
    )
    return CodeMissing(
        f"{what} needs code that is not at hand, and is never imported:{listed}\n{todo} "
        "with Orchestrator(workflows=[...])",
        step=next(filter(None, reader.lacking.values()), None),
        run_id=run_id or None,
    )


def changed(body: Mapping[str, Data], definition: WorkflowDef) -> list[str]:
    """Paths of the steps whose code, tools or output type are not what they were when the body was stored.

    Args:
        body: As `stored` wrote it.
        definition: What `rebuilt` made of it.
    """
    return list(_changed(body.get("workflow"), stored(definition)[1]["workflow"], ""))


def _changed(was: Data, now: Data, prefix: str) -> Iterator[str]:
    steps = {step["name"]: step for step in now["steps"]}
    forms = was.get("steps") if is_object(was) else None
    for form in forms if is_list(forms) else ():
        step = steps.get(form.get("name")) if is_object(form) else None
        if step is None:
            continue
        if _hashes(form) != _hashes(step):
            yield f"{prefix}{step['name']}"
        yield from _changed_inside(form, step, f"{prefix}{step['name']}/")


def _changed_inside(form: dict[str, Data], step: dict[str, Data], prefix: str) -> Iterator[str]:
    """The same for the workflows that stand in a step's form, at any depth."""
    if "workflow" in step:
        yield from _changed(form.get("workflow"), step["workflow"], prefix)
    for was, now in _parts(form, step):
        yield from _changed_inside(was, now, prefix)


def _parts(form: dict[str, Data], other: dict[str, Data]) -> Iterator[tuple[dict[str, Data], dict[str, Data]]]:
    """What a loop repeats, or each branch of a dispatch, in two forms of one step."""
    if is_object(form.get("loop")) and is_object(other.get("loop")):
        yield form["loop"], other["loop"]
    for key, part in _branches(form).items():
        same = _branches(other).get(key)
        if is_object(part) and is_object(same):
            yield part, same


def _branches(form: dict[str, Data]) -> dict[str, Data]:
    dispatch = form.get("dispatch")
    return {**dispatch["among"], OTHERWISE: dispatch.get("otherwise")} if is_object(dispatch) else {}


def _hashes(form: dict[str, Data]) -> list[Data]:
    """Hashes of all code of an action, in a fixed order; nested workflows answer for themselves."""
    found = _own_hashes(form)
    for part, _ in _parts(form, form):
        found += _hashes(part)
    loop = form.get("loop")
    if is_object(loop):
        carry = loop.get("carry")
        rules: list[Data] = [loop.get("until"), *(carry.values() if is_object(carry) else ())]
        found += [rule.get("code") for rule in rules if is_object(rule)]
    return found


def _own_hashes(form: dict[str, Data]) -> list[Data]:
    function, payload = form.get("function"), form.get("payload")
    if is_object(function):
        return [function.get("code")]
    if is_object(payload):
        return [payload.get("schema"), *(tool.get("code") for tool in payload.get("tools", ()))]
    return []
