"""Steps whose fingerprints are compared between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmorch.definition.actions import PayloadAction
from llmorch.definition.document import definition_sha, to_document
from llmorch.definition.fingerprint import code_of, function_fingerprint, payload_fingerprint, workflow_fingerprint
from llmorch.definition.functions import function_action, step
from llmorch.definition.node import DictOf, Literal, Ref
from llmorch.definition.wiring import Draft, DraftStep, wire
from llmorch.definition.workflow import InputSpec, WorkflowDef
from llmorch.models.message import Message
from llmorch.models.payload import Payload
from llmorch.models.settings import Settings
from llmorch.requests import ToolSpec

MESSAGES = (Message("system", "Be brief."), Message("user", "Grüße, 漢 \U0001f600"))


def count(text: str, words: frozenset[str] = frozenset({"a", "b", "c"})) -> int:
    return len(set(text.split()) & words)


@step(version="7")
def versioned(text: str) -> str:
    return text


def adding(amount: int) -> Callable[[int], int]:
    def add(number: int) -> int:
        return number + amount

    return add


def workflow() -> WorkflowDef:
    """A small workflow."""
    draft = Draft(
        "w",
        None,
        inputs={"text": InputSpec(str, "x", "what is counted")},
        steps=[
            DraftStep("count", function_action(count), {}),
            DraftStep("ask", PayloadAction(Payload("ask", "{{ count }} {{ options }}", model="a:m", temperature=0)),
                      {"options": Literal({"b": 1, "a": [2.5, None, "é"]})}),
        ],
        output=DictOf((("n", Ref("count")), ("answer", Ref("ask")))),
    )  # fmt: skip
    definition, faults = wire(draft)
    assert not faults
    return definition


def payload_call(**changes: Any) -> str:
    """The fingerprint of one call, with changes."""
    made: dict[str, Any] = {
        "messages": MESSAGES,
        "model": "openai:gpt-5-mini",
        "settings": Settings(temperature=0, max_tokens=100, stop=("END",)),
        "extra": {"z": 1, "a": {"nested": [True]}},
        "output_schema": {"type": "object", "properties": {"b": {}, "a": {}}},
        "tools": (ToolSpec("search", "finds", {"type": "object"}),),
    }
    made |= changes
    return payload_fingerprint(made.pop("messages"), made.pop("model"), **made)


def fingerprints() -> dict[str, str]:
    """One of each kind."""
    definition = workflow()
    return {
        "payload": payload_call(),
        "plain": payload_fingerprint([Message("user", "hi")], "a:m", settings=Settings()),
        "versioned": function_fingerprint(function_action(versioned), {"text": "x"}),
        "function": function_fingerprint(function_action(count), {"text": "x"}),
        "closure": function_fingerprint(function_action(adding(3)), {"number": 1}),
        "document": definition_sha(definition),
        "workflow": workflow_fingerprint(to_document(definition), {"text": "x"}, code=code_of(definition)),
    }
