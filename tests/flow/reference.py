"""What a workflow must do, said in the plainest way: one step after the other. Written from the semantics alone.

After a failure under `"fail"` it goes on beside it: what an engine had in flight then is among its results.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.flow import described as d
from tests.flow.ends import FAILED, LOST, NEVER, SKIPPED, End, gate_of, part_of, text_of


@dataclass
class Reference:
    """The results; `loose` holds the prefix of each workflow that failed under `"fail"`, `requests` what was asked."""

    log: Sequence[str] | None = None  # paths in the order in which they got a value; None: the declared order
    status: str = ""
    output: Any = None
    steps: dict[str, tuple[str, Any]] = field(default_factory=dict[str, tuple[str, Any]])
    requests: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    loose: list[str] = field(default_factory=list[str])

    def run(self, flow: d.Flow, inputs: Mapping[str, Any]) -> Reference:
        end = self._flow(flow, inputs, "")
        absorbed = any(status == "failed" for status, _ in self.steps.values())
        self.status, self.output = "failed" if end == FAILED else "partial" if absorbed else "succeeded", end.value
        return self

    def _flow(self, flow: d.Flow, given: Mapping[str, Any], prefix: str) -> End:
        scope = {name: End("value", given.get(name, default)) for name, default in flow.inputs.items()}
        for step in flow.steps:
            scope[step.name] = self._step(step, scope, prefix, step.on_error or flow.on_error)
        if NEVER in scope.values():
            self.loose.append(prefix)
            return FAILED
        end = self._read(flow.output, scope, prefix, lenient=True)
        return FAILED if end == LOST else end

    def _step(self, step: d.Step, scope: Mapping[str, End], prefix: str, policy: str | d.Dflt) -> End:
        path = prefix + step.name
        bound = {key: self._read(arg, scope, prefix) for key, arg in step.bindings.items()}
        asked = self._read(step.when or d.Lit(True), scope, prefix)
        if NEVER in [*bound.values(), asked, *(scope[name] for name in step.after)]:
            self.steps[path] = ("pending", None)
            return NEVER
        itself = "skip" if step.is_map and isinstance(policy, d.Dflt) else policy  # Default is for items
        if gate := gate_of([*bound.values()]) or gate_of([asked]) or (None if asked.value else SKIPPED):
            return self._end(path, gate, itself)
        values = {key: end.value for key, end in bound.items()}
        if not step.is_map:
            return self._end(path, self._act(step.action, values, path), policy)
        lists = {key: values[key] for key, arg in step.bindings.items() if isinstance(arg, d.Each)}
        if not all(isinstance(items, list) for items in lists.values()) or len({len(x) for x in lists.values()}) != 1:
            return self._end(path, FAILED, itself)
        rows = [values | dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        items = {f"{path}[{index}]": row for index, row in enumerate(rows)}
        ends = [self._end(item, self._act(step.action, row, item), policy) for item, row in items.items()]
        if NEVER in ends or (ends and all(end == LOST for end in ends)):
            return self._end(path, FAILED, itself)
        return self._end(path, End("value", [end.value for end in ends if end.kind == "value"]), policy)

    def _act(self, action: d.Leaf | d.Flow | d.Loop | d.Pick, values: Mapping[str, Any], path: str) -> End:
        if not isinstance(action, d.Leaf):
            act = {d.Flow: self._flow, d.Loop: self._loop, d.Pick: self._pick}[type(action)]
            return act(action, values, path if isinstance(action, d.Loop) else f"{path}/")
        seen = json.dumps(list(values.values()))
        if action.how in ("prompt", "ask"):
            prompt = f"{action.tag} " + " ".join(f"{key}=[{text_of(value)}]" for key, value in values.items())
            self.requests[path, prompt] += 1
            seen = f"{path}|{prompt}"
        try:
            return End("value", d.answer(action, seen))
        except d.Failed:
            return FAILED

    def _loop(self, loop: d.Loop, values: Mapping[str, Any], path: str) -> End:
        end, known = SKIPPED, loop.body.inputs if isinstance(loop.body, d.Flow) else {}
        for turn in range(loop.most):
            self._end(f"{path}@{turn}", end := self._act(loop.body, values, f"{path}@{turn}"), "skip")
            try:
                told = (end.value, {**known, **values}, turn)
                if end.kind != "value" or loop.until.value(*told):
                    return end
                if turn + 1 < loop.most:
                    values = {**values, **{name: rule.value(*told) for name, rule in loop.carry.items()}}
            except (LookupError, TypeError):
                return FAILED
        return FAILED if loop.on_exhausted == "fail" else end

    def _pick(self, pick: d.Pick, values: Mapping[str, Any], prefix: str) -> End:
        branches = {**pick.branches, **({"otherwise": pick.otherwise} if pick.otherwise else {})}
        key = chosen if (chosen := text_of(values[d.CHOICE])) in pick.branches else "otherwise"
        if key not in branches:
            return FAILED
        self.steps |= {prefix + other: ("skipped", None) for other in branches}
        end = self._act(branches[key].action, {name: values[name] for name in branches[key].reads}, prefix + key)
        if self._end(prefix + key, end, "fail") == NEVER:
            self.loose.append(prefix)
        return end

    def _end(self, path: str, end: End, policy: str | d.Dflt) -> End:
        if end != FAILED:
            self.steps[path] = ("succeeded" if end.kind == "value" else "skipped", end.value)
            return end
        self.steps[path] = ("failed", policy.value if isinstance(policy, d.Dflt) else None)
        return End("value", policy.value) if isinstance(policy, d.Dflt) else LOST if policy == "skip" else NEVER

    def _read(self, arg: d.Arg, scope: Mapping[str, End], prefix: str, *, lenient: bool = False) -> End:
        match arg:
            case d.Lit(value):
                return End("value", value)
            case d.Ref(name, keys):
                end = scope[name]
                try:
                    return End("value", part_of(end.value, keys)) if end.kind == "value" else end
                except (LookupError, TypeError):
                    return FAILED
            case d.Each(inner) | d.Opt(inner):
                end = self._read(inner, scope, prefix)
                return End("value", arg.default) if isinstance(arg, d.Opt) and end in (SKIPPED, LOST) else end
            case d.FirstOf(refs):
                ends = [self._read(ref, scope, prefix) for ref in refs]
                return next((end for end in ends if end not in (SKIPPED, LOST)), LOST if LOST in ends else SKIPPED)
            case d.FirstN(refs, n):
                return self._first_n({prefix + ref.name: self._read(ref, scope, prefix) for ref in refs}, n)
            case d.When(_, refs):
                ends = [self._read(ref, scope, prefix) for ref in refs]
                try:
                    return gate_of(ends) or End("value", arg.holds([end.value for end in ends]))
                except TypeError:
                    return FAILED
        named: Mapping[Any, d.Arg] = arg.parts if isinstance(arg, d.DictOf) else dict(enumerate(arg.parts))
        parts = {key: self._read(part, scope, prefix) for key, part in named.items()}
        if (gate := gate_of([*parts.values()])) and not (lenient and gate in (SKIPPED, LOST)):
            return gate
        listed = [end.value for end in parts.values() if end.kind == "value"]
        return End("value", listed if isinstance(arg, d.ListOf) else {key: end.value for key, end in parts.items()})

    def _first_n(self, ends: Mapping[str, End], n: int) -> End:
        if sum(end not in (SKIPPED, LOST) for end in ends.values()) < n:
            return LOST if LOST in ends.values() else SKIPPED
        values = {path: end.value for path, end in ends.items() if end.kind == "value"}
        first = [path for path in (ends if self.log is None else self.log) if path in values][:n]
        return End("value", [values[path] for path in values if path in first]) if len(first) == n else NEVER
