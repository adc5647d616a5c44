"""Reads an answer as the payload's output type, and words the request to mend one that does not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ... import _json
from ...errors import OutputInvalid
from ...models.message import Message
from ...models.payload import Payload
from ...models.values import Data, to_data
from ...schema import describe, validate, wrapped

__all__ = ["OutputSpec", "output_spec"]

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?```", re.DOTALL)


class OutputSpec:
    """What a payload's answer must be.

    Attributes:
        is_text: The answer is taken as it is.
    """

    def __init__(self, output: Any) -> None:
        self.type = output
        self.is_text = output is str

    @cached_property
    def _wrapped(self) -> tuple[Mapping[str, Data], bool]:
        return wrapped(self.type)

    @cached_property
    def schema(self) -> Mapping[str, Data] | None:
        """The JSON schema sent to a provider: an object, wrapped in `{"value": ...}` where the type is none."""
        return None if self.is_text else self._wrapped[0]

    def read(self, text: str, path: str) -> Data:
        """The answer as data.

        Raises:
            OutputInvalid: It is no JSON, or does not fit the type.
        """
        if self.is_text:
            if text.isascii():
                return text
            return to_data(text.encode("utf-8", "replace").decode("utf-8"), where=f"step {path!r}")
        try:
            value = self._fitting(_parsed(text))
        except ValueError as error:
            raise OutputInvalid(
                f"Step {path!r}: the answer does not fit {describe(self.type)}: {error}", text=text, step=path
            ) from None
        return to_data(value, where=f"step {path!r}")

    def _fitting(self, answer: Data) -> Any:
        if self._wrapped[1] and isinstance(answer, dict) and answer.keys() == {"value"}:
            return validate(self.type, answer["value"])
        return validate(self.type, answer)

    def instructed(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The prompt with the schema in words, for models without native structured output."""
        text = f"Answer with JSON only, satisfying this JSON schema:\n{_json.dumps(self.schema)}"
        head = messages[0] if messages else None
        if head is not None and head.role == "system":
            return (Message("system", f"{head.text}\n\n{text}"), *messages[1:])
        return (Message("system", text), *messages)

    def repaired(self, messages: tuple[Message, ...], text: str, path: str) -> tuple[Message, ...]:
        """The prompt after an answer that did not fit, as `repair` worded it then."""
        try:
            self.read(text, path)
        except OutputInvalid as error:
            return self.repair(messages, text, error)
        return messages

    def repair(self, messages: tuple[Message, ...], text: str, error: OutputInvalid) -> tuple[Message, ...]:
        """The prompt, the answer that did not fit, and why it did not."""
        reason = error.message.partition(": ")[2] or error.message  # without the step's path
        wish = f"{reason}\nAnswer again with JSON only, satisfying this JSON schema:\n{_json.dumps(self.schema)}"
        return (*messages, Message("assistant", text), Message("user", wish))


def _parsed(text: str) -> Data:
    """JSON out of an answer: the whole text, or the one fenced block in it."""
    try:
        return _json.loads(text)
    except ValueError as error:
        fenced = _FENCED.findall(text)
        if len(fenced) == 1:
            return _json.loads(fenced[0])
        raise ValueError(f"it is not JSON ({error})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def output_spec(payload: Payload[Any]) -> OutputSpec:
    """The payload's output specification, worked out once and kept with it."""
    kept: dict[str, Any] = vars(payload)  # kept with the value, as a cached_property is
    found = kept.get("_output_spec")
    if not isinstance(found, OutputSpec):
        found = kept["_output_spec"] = OutputSpec(payload.output)
    return found
