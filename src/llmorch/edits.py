"""What the builder's verbs do: a step from what `add` and `map` are given, changed copies of a draft."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, TypedDict, cast

from ._clock import seconds
from .definition.actions import ActionDef, DispatchAction, LoopAction, PayloadAction, WorkflowAction, parts_of
from .definition.names import did_you_mean
from .definition.node import Ref, as_binding
from .definition.wiring import Draft, DraftStep, wire
from .definition.workflow import MapRule, OnUnknown, WorkflowDef
from .errors import WorkflowInvalid
from .models.block import Block
from .models.policy import Default
from .workflow_files import draft_of

__all__ = ["OnErrorArg", "Placed", "Placing", "replaced", "step_of", "with_block"]

OnErrorArg = Literal["fail", "skip"] | Default | None
_OPTIONS: Final = frozenset((
    "name", "after", "when", "on_error", "timeout", "on_unknown", "bind", "concurrency",
    "until", "max_iterations", "carry", "on_exhausted", "among", "otherwise",
))  # fmt: skip


class Placed(NamedTuple):
    """An action for a definition, its own name, the names it reads, and the verb that places it."""

    action: ActionDef
    name: str
    reads: Collection[str]
    verb: str = "add"
    used: frozenset[str] = frozenset()  # options that only this verb has and that are given


class Placing(TypedDict):
    """What `add` and `map` are given beside the action."""

    name: str | None
    after: Iterable[Ref[Any] | str]
    when: str | Ref[Any] | None
    on_error: OnErrorArg
    timeout: float | timedelta | None
    on_unknown: OnUnknown
    bind: Mapping[str, Any] | None  # Any: whatever a binding may be
    bindings: Mapping[str, Any]


def step_of(placed: Placed, rule: MapRule | None, *, options: Placing) -> DraftStep:
    """The step that `add` places, or `map` when there is a rule.

    Raises:
        TypeError: An option's name is also a variable of the action, a binding is given twice, or an option is no such.
    """
    _refuse_clash(placed, rule, options)
    _check_options(options)
    name = options["name"] if options["name"] is not None else placed.name
    bindings, bind = options["bindings"], options["bind"] or {}
    twice = sorted(bindings.keys() & bind.keys())
    if twice:
        raise TypeError(f"step {name!r}: {twice[0]!r} is bound twice, by keyword and in bind=; bind it once")
    return DraftStep(
        name=name,
        action=placed.action,
        bindings={
            key: as_binding(value, where=f"step {name!r}: {key!r}") for key, value in {**bindings, **bind}.items()
        },
        when=options["when"],
        after=_several(options["after"]),
        on_error=options["on_error"],
        timeout=seconds(options["timeout"]),
        on_unknown=options["on_unknown"],
        map=rule,
    )


def _refuse_clash(placed: Placed, rule: MapRule | None, options: Placing) -> None:
    if _OPTIONS.isdisjoint(placed.reads):
        return  # the common case
    used: dict[str, object] = {key: options[key] for key in ("name", "when", "on_error", "timeout", "bind")}
    if rule is not None:
        used["concurrency"] = rule.concurrency
    used["after"] = options["after"] or None
    used.update(dict.fromkeys(placed.used, True))
    used["on_unknown"] = None if options["on_unknown"] == "retry" else options["on_unknown"]
    for option, value in used.items():
        if value is not None and option in placed.reads:
            raise TypeError(
                f"{option!r} is both an option of {placed.verb if rule is None else 'map'}() and a variable of "
                f'{placed.name!r}; bind it with bind={{"{option}": ...}}'
            )


def _check_options(options: Placing) -> None:
    when: object = options["when"]
    if when is not None and not isinstance(when, str | Ref):
        raise TypeError(f"when= takes an expression or a reference, not {type(when).__name__}; decide a bool in Python")
    on_error: object = options["on_error"]
    if on_error not in (None, "fail", "skip") and not isinstance(on_error, Default):
        raise TypeError(f"on_error= takes 'fail', 'skip' or Default(value), not {on_error!r}")
    on_unknown: object = options["on_unknown"]
    if on_unknown not in ("retry", "fail", "ask"):
        raise TypeError(f"on_unknown= takes 'retry', 'fail' or 'ask', not {on_unknown!r}")
    limit = seconds(options["timeout"])
    if limit is not None and not limit > 0:  # not NaN either
        raise ValueError(f"timeout={limit:g} leaves no time; leave it out for no limit")


def _several(after: Iterable[Ref[Any] | str]) -> tuple[Ref[Any] | str, ...]:
    if isinstance(after, str):
        return (after,)
    return (cast("Ref[Any]", after),) if isinstance(after, Ref) else tuple(after)


def replaced(draft: Draft, name: str, *, action: ActionDef) -> Draft:
    """A copy in which the step of that name does something else.

    Raises:
        KeyError: There is no such step.
    """
    names = [step.name for step in draft.steps]
    if name not in names:
        raise KeyError(f"workflow {draft.name!r} has no step {name!r}{did_you_mean(name, names)}")
    steps = [replace(step, action=action) if step.name == name else step for step in draft.steps]
    return replace(draft, inputs=dict(draft.inputs), steps=steps)


def with_block(draft: Draft, block: Block) -> Draft:
    """A copy in which every block of that name is this one, in nested workflows too.

    Raises:
        KeyError: No payload has a block of that name.
    """
    names = {name for step in draft.steps for name in _block_names(step.action)}
    if block.name not in names:
        raise KeyError(f"workflow {draft.name!r} has no block {block.name!r}{did_you_mean(block.name, sorted(names))}")
    steps = [replace(step, action=_with_block(step.action, block)) for step in draft.steps]
    return replace(draft, inputs=dict(draft.inputs), steps=steps)


def _block_names(action: ActionDef) -> Iterator[str]:
    if isinstance(action, PayloadAction):
        yield from (block.name for block in action.payload.blocks)
    elif isinstance(action, WorkflowAction):
        for step in action.definition.steps:
            yield from _block_names(step.action)
    for part in parts_of(action):
        yield from _block_names(part)


def _with_block(action: ActionDef, block: Block) -> ActionDef:
    if block.name not in _block_names(action):
        return action
    if isinstance(action, WorkflowAction):
        return WorkflowAction(_rewired(action.definition, block))
    if isinstance(action, LoopAction):
        return replace(action, body=_with_block(action.body, block))
    if isinstance(action, DispatchAction):
        branches = tuple((key, _with_block(branch, block)) for key, branch in action.branches)
        otherwise = None if action.otherwise is None else _with_block(action.otherwise, block)
        return DispatchAction(branches, otherwise)
    assert isinstance(action, PayloadAction)
    blocks = [block if old.name == block.name else old for old in action.payload.blocks]
    return PayloadAction(action.payload.using(blocks=blocks))


def _rewired(definition: WorkflowDef, block: Block) -> WorkflowDef:
    """The nested workflow with the block, and its names looked up again: the block may read others than before."""
    definition, faults = wire(with_block(draft_of(definition), block))
    if faults:
        raise WorkflowInvalid(faults=faults, workflow=definition.name)
    return definition
