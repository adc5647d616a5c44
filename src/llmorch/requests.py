"""What passes between a call and a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .models.message import Message, ToolCall
from .models.settings import Settings
from .models.usage import Usage
from .models.values import Data

__all__ = ["Allowance", "Call", "Capabilities", "ProviderRequest", "ProviderResponse", "ProviderStatus", "ToolSpec"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a provider is told of it; `schema` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Data]


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One request to a model.

    Attributes:
        model: The part after the colon.
        messages: The prompt, in order.
        settings: Only what is set.
        output_schema: JSON schema the answer must satisfy, or None for text.
        tools: What the model may call.
        timeout: Seconds the whole call may take; None is the provider's own 600.
        extra: Passed into the request body as it is.
        step: Path of the step, for logs and scripted answers; never sent.
    """

    model: str
    messages: tuple[Message, ...]
    settings: Settings = Settings()
    output_schema: Mapping[str, Data] | None = None
    tools: tuple[ToolSpec, ...] = ()
    timeout: float | None = None
    extra: Mapping[str, Data] = field(default_factory=dict[str, Any])
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a vendor says is left of its rate limits; None is not told. `*_reset_s`: seconds until it is whole again."""

    requests: int | None = None
    requests_reset_s: float | None = None
    tokens: int | None = None
    tokens_reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """One answer of a model.

    Attributes:
        text: The answer's text, without thinking and tool arguments.
        tool_calls: Tools the model asks for.
        usage: Tokens billed; None when the provider said nothing credible (the engine then estimates).
        finish_reason: `stop`, `length`, `tool_calls`, `content_filter` or `other`.
        model: The model as the provider names it.
        raw: The vendor's own words worth keeping (finish reason, ids); plain data. What stands in `raw["replay"]` is
            given back as `Message.vendor` when the conversation goes on with the same model after tool calls.
        allowance: What is left of the vendor's rate limits, where it says so.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    finish_reason: str = "stop"
    model: str = ""
    raw: Mapping[str, Data] = field(default_factory=dict[str, Any])
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do, as its provider declares it.

    Attributes:
        context_tokens: Tokens of prompt and answer together, where known.
        max_output_tokens: Tokens of an answer, where known.
        unsupported: Names of settings the model does not take.
        schema_with_tools: Whether `json_schema` holds for requests that offer tools, too.
    """

    streaming: bool = True
    tools: bool = True
    json_schema: bool = True
    images: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    unsupported: frozenset[str] = frozenset()
    schema_with_tools: bool = True


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """The answer to "does it work?": `latency` in seconds, `detail` for people."""

    ok: bool
    model: str | None = None
    latency: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One provider call as hooks see it: `call` counts the step's requests from 1."""

    run_id: str
    step: str
    call: int
    request: ProviderRequest
