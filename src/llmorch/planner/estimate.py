"""What a workflow will take before anything is sent: calls, tokens and US dollars, as ranges.

- low: every call succeeds at once; a step that may be skipped (`when`, or reading one that may be) counts nothing.
- likely: one call for each payload, two for one with tools, every step runs; a loop turns twice, and of the branches of
  a dispatch the dearest is taken.
- high: every attempt of every model, every output repair, every tool round. Tokens and dollars of the high figure count
  each answer that can come back unusable, but not attempts that fail without an answer, which vendors do not bill.

Sizes of values that do not exist yet are assumed: see `sizes.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ..definition.actions import (
    CHOICE,
    ActionDef,
    DispatchAction,
    FunctionAction,
    LoopAction,
    PayloadAction,
    QuestionAction,
    ScriptAction,
    WorkflowAction,
    parts_of,
)
from ..definition.branches import branch_input
from ..definition.node import Binding, DictOf, Each, Filled, FirstN, FirstOf, ListOf, Optional, Ref
from ..definition.workflow import StepDef, WorkflowDef
from ..errors import LLMOrchError
from ..models.payload import Payload
from ..models.policy import Retry
from ..models.values import Data
from ..pricing import cost
from .catalog import Catalog, ResolvedModel
from .compile import compiled
from .ranges import NO_COST, NOTHING, Range, one_of
from .sizes import (
    ABSENT,
    ANSWER,
    SCALAR,
    STRUCTURE,
    UNKNOWN,
    Size,
    Values,
    known_value,
    of_chars,
    of_value,
    size_of,
    width_of,
)

__all__ = ["FREE", "Forecast", "StepForecast", "forecast"]

_ONCE: Final = Range(1, 1, 1)
_PER_MESSAGE: Final = 4  # tokens a vendor adds around each message
_ATTEMPTS: Final = Retry().attempts
_TURNS: Final = 2
_MARKUP = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SCALARS = (int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class StepForecast:
    """What one step takes.

    Attributes:
        model: Id of the model it asks first, or None where it asks none or none is known.
        cost: None when a price is unknown.
        width: Items, for a map.
        factor: How often what is inside it runs.
        inner: For a nested workflow, what one run of it takes.
    """

    calls: Range[int] = NOTHING
    tokens: Range[int] = NOTHING
    cost: Range[Decimal] | None = NO_COST
    model: str | None = None
    width: Range[int] | None = None
    factor: Range[int] = _ONCE
    inner: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a workflow takes; `steps` is indexed like those of its definition."""

    steps: list[StepForecast]
    calls: Range[int]
    tokens: Range[int]
    cost: Range[Decimal] | None
    output: Size
    may_be_skipped: bool


FREE: Final = StepForecast()


def forecast(
    definition: WorkflowDef,
    catalog: Catalog | None,
    known: Mapping[str, Data],
    *,
    sizes: Mapping[str, Size] | None = None,
) -> Forecast:
    """What the workflow takes.

    Args:
        catalog: Knows models and prices; without it costs are unknown.
        known: Input name -> value, for inputs that are known.
        sizes: Input name -> size, for inputs of which only that is known.
    """
    of_inputs = {**{name: of_value(value) for name, value in known.items()}, **(sizes or {})}
    return _Forecaster(definition, _Models(catalog), Values(known, of_inputs, {})).result()


class _Models:
    """Resolves each model id once; one that cannot be resolved is None (its fault is found elsewhere)."""

    def __init__(self, catalog: Catalog | None) -> None:
        self.catalog = catalog
        self.found: dict[str | None, ResolvedModel | None] = {}

    def resolve(self, model: str | None) -> ResolvedModel | None:
        if model not in self.found:
            try:
                self.found[model] = self.catalog.resolve(model) if self.catalog is not None else None
            except LookupError:
                self.found[model] = None
        return self.found[model]


def _asks_models(definition: WorkflowDef) -> bool:
    found = definition.memo.get("asks-models")
    if found is None:
        found = definition.memo["asks-models"] = any(_asks_model(step.action) for step in definition.steps)
    return bool(found)


def _asks_model(action: ActionDef) -> bool:
    if isinstance(action, WorkflowAction):
        return _asks_models(action.definition)
    return isinstance(action, PayloadAction) or any(_asks_model(part) for part in parts_of(action))


class _Forecaster:
    """One pass over a workflow in running order."""

    def __init__(self, definition: WorkflowDef, models: _Models, values: Values) -> None:
        self.definition = definition
        self.models = models
        self.sizes: dict[str, Size] = dict(values.sizes)
        self.widths: dict[str, Range[int]] = {}
        self.values = Values(values.known, self.sizes, self.widths)
        self.skippable: set[str] = set()

    def result(self) -> Forecast:
        """The forecast of every step and their sum."""
        definition = self.definition
        steps = [FREE] * len(definition.steps)
        if not _asks_models(definition):
            return Forecast(steps, NOTHING, NOTHING, NO_COST, UNKNOWN, may_be_skipped=False)
        order = compiled(definition).order
        rest = sorted(set(range(len(steps))) - set(order))  # in or behind a cycle, which is a fault of its own
        for index in (*order, *rest):
            steps[index] = self._step(definition.steps[index])
        costs = [step.cost for step in steps if step.cost is not None]
        output = definition.output
        return Forecast(
            steps,
            sum((step.calls for step in steps), NOTHING),
            sum((step.tokens for step in steps), NOTHING),
            sum(costs, NO_COST) if len(costs) == len(steps) else None,
            UNKNOWN if output is None else size_of(output, self.values),
            may_be_skipped=output is not None and not isinstance(output, ListOf | DictOf) and self._may_skip(output),
        )

    def _step(self, step: StepDef) -> StepForecast:
        width = None if step.map is None else width_of(step.bindings, self.values)
        skippable = step.when is not None or any(self._may_skip(binding) for binding in step.bindings.values())
        one, size = self._action(step, step.action)
        skippable = skippable or (one.inner is not None and one.inner.may_be_skipped and step.map is None)
        if skippable:
            self.skippable.add(step.name)
        if width is not None:
            self.widths[step.name] = width
            size = Size(size.low * width.low, size.likely * width.likely, size.high * width.high)
        self.sizes[step.name] = size
        factor = width or _ONCE
        factor = Range(0, factor.likely, factor.high) if skippable else factor
        return one if one is FREE and width is None else _times(one, factor, width)

    def _action(self, step: StepDef, action: ActionDef) -> tuple[StepForecast, Size]:
        """What one run of an action takes, and the size of what it gives."""
        match action:
            case FunctionAction(returns=returns):
                return FREE, SCALAR if returns in _SCALARS else UNKNOWN
            case PayloadAction(payload=payload):
                return self._payload(step, payload)
            case ScriptAction():
                return FREE, UNKNOWN
            case QuestionAction(question=question):
                return FREE, SCALAR if question.answer in _SCALARS else UNKNOWN
            case WorkflowAction(definition=inner):
                nested = self._nested(step, inner)
                return StepForecast(nested.calls, nested.tokens, nested.cost, inner=nested), nested.output
            case LoopAction(body=body):
                carried = dict(action.carry)
                first = {name: binding for name, binding in step.bindings.items() if name not in carried}
                one, size = self._action(replace(step, bindings=first), body)
                turns = Range(1, min(_TURNS, action.max_iterations), action.max_iterations)
                return (one if one is FREE else _times(one, turns, None)), size
            case DispatchAction():
                return self._dispatch(step, action)

    def _dispatch(self, step: StepDef, action: DispatchAction) -> tuple[StepForecast, Size]:
        """One of the branches: the least of what they take, and the most."""
        branches = [self._action(step, branch) for _, branch in action.all_branches]
        taken = [one for one, _ in branches]
        if not taken:
            return FREE, UNKNOWN
        sizes = [size for _, size in branches]
        costs = [one.cost for one in taken if one.cost is not None]
        renamed = {branch_input(name): binding for name, binding in step.bindings.items() if name != CHOICE}
        inner = self._nested(replace(step, bindings=renamed), action.inner)
        return (
            StepForecast(
                one_of([one.calls for one in taken]),
                one_of([one.tokens for one in taken]),
                one_of(costs) if len(costs) == len(taken) else None,
                inner=replace(inner, may_be_skipped=False),
            ),
            Size(*(max(amounts) for amounts in zip(*sizes, strict=True))),
        )

    def _nested(self, step: StepDef, inner: WorkflowDef) -> Forecast:
        known = {name: spec.default for name, spec in inner.inputs.items() if not spec.is_required}
        sizes = {name: of_value(value) for name, value in known.items()}
        for name, binding in step.bindings.items():
            value = ABSENT if isinstance(binding, Each) else known_value(binding, self.values.known)
            known.pop(name, None)
            if value is not ABSENT:
                known[name] = value
            sizes[name] = size_of(binding, self.values)
        return _Forecaster(inner, self.models, Values(known, sizes, {})).result()

    def _payload(self, step: StepDef, payload: Payload[Any]) -> tuple[StepForecast, Size]:
        models = [self.models.resolve(model) for model in (payload.model, *payload.fallback)]
        answer = _answer(payload, models[0])
        repairs = 0 if payload.output is str else payload.output_retries
        rounds = payload.max_tool_rounds if payload.tools else 0
        attempts = payload.retry.attempts if payload.retry is not None else _ATTEMPTS
        prompt = self._prompt(step, payload)
        bill = _bill(prompt, answer, repairs + rounds, models=models, most_likely=2 if rounds else 1)
        first = models[0].id if models[0] is not None else payload.model
        calls = Range(1, 2 if rounds else 1, attempts * (1 + repairs + rounds) * len(models))
        return StepForecast(calls, bill.tokens, bill.cost, model=first), answer

    def _prompt(self, step: StepDef, payload: Payload[Any]) -> Size:
        """Tokens of the messages: rendered where everything in them is known, else their text and what fills it."""
        framing = _PER_MESSAGE * (len(payload.blocks) + len(payload.history))
        given = {name: known_value(binding, self.values.known) for name, binding in step.bindings.items()}
        if step.map is None and all(value is not ABSENT for value in given.values()):
            try:
                rendered = of_chars(sum(len(message.text) for message in payload.render_data(given)))
                return Size(*(tokens + framing for tokens in rendered))
            except LLMOrchError:
                pass  # fails on these values: the run will say so; sizes still give a figure
        chars = sum(len(_MARKUP.sub("", block.text)) for block in payload.blocks)
        chars += sum(len(message.text) for message in payload.history)
        parts = [of_chars(chars), Size(framing, framing, framing)]
        for block in payload.blocks:
            parts += [size_of(step.bindings[name], self.values) for name in block.variables if name in step.bindings]
        return Size(*(sum(amounts) for amounts in zip(*parts, strict=True)))

    def _may_skip(self, binding: Binding) -> bool:
        match binding:
            case Ref(source=source):
                return source in self.skippable
            case Each(source=source):
                return self._may_skip(source)
            case FirstOf(refs=refs):
                return all(self._may_skip(ref) for ref in refs)
            case FirstN(refs=refs, n=n):
                return sum(not self._may_skip(ref) for ref in refs) < n
            case ListOf(items=items):
                return any(self._may_skip(item) for item in items)
            case DictOf(items=pairs) | Filled(refs=pairs):
                return any(self._may_skip(item) for _, item in pairs)
            case Optional() | _:
                return False


def _times(one: StepForecast, factor: Range[int], width: Range[int] | None) -> StepForecast:
    price = None if one.cost is None else one.cost.times(factor)
    if one.cost is None and factor.high == 0:
        price = NO_COST  # a map over a list that is known to be empty
    calls, tokens, often = one.calls.times(factor), one.tokens.times(factor), one.factor.times(factor)
    return StepForecast(calls, tokens, price, one.model, width, often, one.inner)


def _answer(payload: Payload[Any], model: ResolvedModel | None) -> Size:
    size = ANSWER if payload.output is str else SCALAR if payload.output in _SCALARS else STRUCTURE
    most = payload.max_tokens
    if most is None and model is not None and model.capabilities.max_output_tokens is not None:
        most = min(int(size.high), model.capabilities.max_output_tokens)
    return size if most is None else Size(min(size.low, most), min(size.likely, most), most)


class _Bill(NamedTuple):
    tokens: Range[int]
    cost: Range[Decimal] | None


def _bill(prompt: Size, answer: Size, again: int, *, models: list[ResolvedModel | None], most_likely: int) -> _Bill:
    """Tokens and dollars; a repair or tool round sends the prompt again together with the answers so far."""
    asked = 1 + again
    hops = len(models) if again else 1
    most_in = math.ceil(prompt.high * asked + answer.high * again * asked / 2)
    most_out = math.ceil(answer.high * asked)
    low = math.ceil(prompt.low), math.ceil(answer.low)
    likely = math.ceil(prompt.likely * most_likely), math.ceil(answer.likely * most_likely)
    tokens = Range(sum(low), sum(likely), (most_in + most_out) * hops)
    first = models[0]
    high = [None if m is None else cost(m.price, input_tokens=most_in, output_tokens=most_out) for m in models]
    if first is None or first.price is None or any(amount is None for amount in high):
        return _Bill(tokens, None)
    priced = [amount for amount in high if amount is not None]
    least = cost(first.price, input_tokens=low[0], output_tokens=low[1])
    usual = cost(first.price, input_tokens=likely[0], output_tokens=likely[1])
    assert least is not None  # the price is known
    assert usual is not None
    return _Bill(tokens, Range(least, usual, sum(priced, Decimal(0)) if again else max(priced)))
