"""Changed copies of a workflow that is being built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .definition.actions import ActionDef, PayloadAction, WorkflowAction
from .definition.names import did_you_mean
from .definition.wiring import Draft
from .models.block import Block

__all__ = ["replaced", "with_block"]


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


def _with_block(action: ActionDef, block: Block) -> ActionDef:
    if block.name not in _block_names(action):
        return action
    if isinstance(action, WorkflowAction):
        inner = action.definition
        steps = tuple(replace(step, action=_with_block(step.action, block)) for step in inner.steps)
        return WorkflowAction(replace(inner, steps=steps, memo={}))
    assert isinstance(action, PayloadAction)
    blocks = [block if old.name == block.name else old for old in action.payload.blocks]
    return PayloadAction(action.payload.using(blocks=blocks))
