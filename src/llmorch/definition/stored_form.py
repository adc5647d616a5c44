"""What is stored of a definition with its runs: all that decides how they go on, in one form in every process.

```yaml
format: 1
workflow:
  name: article-to-post
  inputs: {article: {implied: true}, audience: {type: str, default: engineers}}
  steps:
    - name: facts
      payload: {name: extract, ..., output: {python: "app.models:Facts"}, schema: <sha>, tools: [...]}
      # or  function: {python: "app.steps:count", code: <sha>, retry: {...}}
      # or  workflow: {name: ..., inputs: ..., steps: [...], output: ...}
      bind: {title: {from: facts.title}}
      when: {text: "title != ''", bind: {title: {from: facts.title}}}
  output: {from: facts}
```

Payloads, bindings, types and rules stand there as in documents. What documents leave to be found out again is said:
every binding, also of names in conditions, and which inputs are implied. Code stands there by address, whoever may find
it, with a hash of what it was: functions and tools of their source, output types of their schema. A tool has the name
models call it by, since one function may be several tools. A type that cannot be made from its form, such as a set, is
`{named: ..., schema: ...}`, and found again where it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from .._json import dumps, sha256
from ..errors import ValueRefused
from ..models.payload import Payload
from ..models.tool import Tool
from ..models.values import Data
from ..schema import describe, json_schema
from ..templates.bounds import is_object
from .actions import ActionDef, FunctionAction, LoopAction, PayloadAction, QuestionAction, Rule
from .document import action_to, input_to, map_to, policy_to
from .document_binding import binding_to
from .document_payload import retry_to
from .document_read import number_to
from .document_type import type_to
from .fingerprint import code_of
from .node import Ref
from .workflow import Condition, InputSpec, StepDef, WorkflowDef

__all__ = ["FORMAT", "function_code", "stored", "tool_code", "type_form"]

FORMAT: Final = 1
_MEMO: Final = "stored"


def stored(definition: WorkflowDef) -> tuple[str, dict[str, Data]]:
    """The definition's sha, and its body as JSON data that nobody may change; worked out once.

    The sha is that of the body's JSON text, keys in their order: two definitions that differ in the order of a
    mapping write different prompts.

    Raises:
        ValueRefused: It holds what is no JSON data, such as a temperature without end.
    """
    found = definition.memo.get(_MEMO)
    if found is None:
        body: dict[str, Data] = {"format": FORMAT, "workflow": _Writer().workflow(definition)}
        try:
            text = dumps(body)
        except ValueError as error:
            raise ValueRefused(
                f"Workflow {definition.name!r} cannot be stored, because it holds a number that JSON cannot ({error}); "
                "give it as text"
            ) from error
        found = definition.memo[_MEMO] = (hashlib.sha256(text.encode("ascii")).hexdigest(), body)
    return cast("tuple[str, dict[str, Data]]", found)


def type_form(kind: Any) -> Data:  # Any: a type, a union, anything an annotation can be
    """The type as it stands in a body; one that cannot be made from its form says what people call it."""
    try:
        form = type_to(kind)
    except TypeError:
        return {"named": describe(kind)}
    is_exact = isinstance(kind, Mapping) or not (is_object(form) and "schema" in form)
    return form if is_exact else {"named": describe(kind), **form}


def function_code(action: FunctionAction) -> str:
    """Hash of a function's code; empty where what it closes over cannot be looked at."""
    try:
        return code_of(WorkflowDef("", (StepDef("code", action, {}),), {}, None))["code"]
    except Exception:  # what a function closes over is looked at, and may raise anything then
        return ""


def tool_code(tool: Tool[..., Any]) -> str:  # Any: of any function
    """Hash of what a model is told of the tool, and of its code."""
    code = function_code(FunctionAction(tool.function, (), tool.is_async, version=tool.version))
    return sha256([tool.name, tool.description, tool.schema, number_to(tool.timeout_s), code])


class _Writer:
    """Writes one definition; what is met again, by identity, is not written anew."""

    def __init__(self) -> None:
        self.workflows: dict[int, dict[str, Data]] = {}
        self.actions: dict[int, dict[str, Data]] = {}
        self.codes: dict[int, str] = {}

    def workflow(self, definition: WorkflowDef) -> dict[str, Data]:
        """The workflow, nested ones inside it."""
        written = self.workflows.get(id(definition))
        if written is not None:
            return written
        written = self.workflows[id(definition)] = {"name": definition.name}
        if definition.description:
            written["description"] = definition.description
        if definition.on_error != "fail":
            written["on_error"] = definition.on_error
        if definition.inputs:
            written["inputs"] = {name: _input(spec) for name, spec in definition.inputs.items()}
        written["steps"] = [self._step(step) for step in definition.steps]
        if definition.output is not None:
            written["output"] = binding_to(definition.output)
        if definition.warnings:
            written["warnings"] = list(definition.warnings)
        if definition.checks:
            from .document_checks import checks_to  # most workflows have none, and none of its cost

            written["checks"] = checks_to(definition.checks)
        return written

    def _step(self, step: StepDef) -> dict[str, Data]:
        written: dict[str, Data] = {"name": step.name, **self._action(step.action)}
        if step.bindings:
            written["bind"] = {
                name: {"from": binding.source} if type(binding) is Ref and not binding.path else binding_to(binding)
                for name, binding in step.bindings.items()
            }
        if step.when is not None:
            written["when"] = _condition(step.when)
        if step.after:
            written["after"] = list(step.after)
        if step.on_error is not None:
            written["on_error"] = policy_to(step.on_error)
        if step.timeout is not None:
            written["timeout"] = number_to(step.timeout)
        if step.on_unknown != "retry":
            written["on_unknown"] = step.on_unknown
        if step.map is not None:
            written["map"] = map_to(step.map)
        return written

    def _action(self, action: ActionDef) -> dict[str, Data]:
        key = id(action.payload) if isinstance(action, PayloadAction) else id(action)  # several steps share a payload
        written = self.actions.get(key)
        if written is None:
            written = self.actions[key] = action_to(action, self.workflow, inside=self._action)
            if isinstance(action, PayloadAction):
                self._add_code(action.payload, written["payload"])
            elif isinstance(action, FunctionAction):
                written["function"]["code"] = function_code(action)
                if action.retry is not None:
                    written["function"]["retry"] = retry_to(action.retry)
            elif isinstance(action, QuestionAction):
                if action.question.answer is not str:
                    written["question"]["answer"] = type_form(action.question.answer)
            elif isinstance(action, LoopAction):
                self._add_rules(action, written["loop"])
        return written

    def _add_rules(self, action: LoopAction, written: dict[str, Data]) -> None:
        written["until"] = _rule(action.until)
        if action.carry:
            written["carry"] = {name: _rule(rule) for name, rule in action.carry}

    def _add_code(self, payload: Payload[Any], written: dict[str, Data]) -> None:
        if payload.tools:
            written["tools"] = [
                {"python": tool.address, "name": tool.name, "code": self._tool_code(tool)} for tool in payload.tools
            ]
        if payload.output is not str and not isinstance(payload.output, Mapping):
            written["output"] = type_form(payload.output)
            written["schema"] = self._schema_code(payload.output)

    def _tool_code(self, tool: Tool[..., Any]) -> str:  # Any: of any function
        code = self.codes.get(id(tool))
        if code is None:
            code = self.codes[id(tool)] = tool_code(tool)
        return code

    def _schema_code(self, kind: Any) -> str:  # Any: a type, a union, anything an annotation can be
        code = self.codes.get(id(kind))
        if code is None:
            code = self.codes[id(kind)] = sha256(json_schema(kind))
        return code


def _input(spec: InputSpec) -> dict[str, Data]:
    written: dict[str, Data] = {} if spec.type is Any else {"type": type_form(spec.type)}
    written.update(input_to(replace(spec, type=Any)))
    if spec.implied:
        written["implied"] = True
    return written


def _rule(rule: Rule) -> Data:
    return rule if isinstance(rule, str) else {"python": rule.address, "code": function_code(rule)}


def _condition(when: Condition) -> Data:
    if when.expression is None:
        return binding_to(when.bindings[""])
    return {"text": when.expression, "bind": {name: binding_to(binding) for name, binding in when.bindings.items()}}
