"""The wire format of Gemini's generateContent.

Source: https://ai.google.dev/api/generate-content (v1beta, 2026-10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from ..models.values import Data
from ..requests import ProviderRequest, ToolSpec
from ._classify import Origin
from ._gemini_answer import StreamReader, read_answer
from ._gemini_contents import Conversation
from ._gemini_models import capabilities_of
from ._gemini_schema import answer_schema, tool_parameters
from ._loose_json import is_list, is_object
from ._vendor import Sent, encoded

__all__ = ["GeminiWire"]

_SETTINGS = {
    "temperature": "temperature",
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_KINDS = ("models/", "tunedModels/")


class GeminiWire:
    """generateContent and streamGenerateContent.

    Args:
        is_token: The key is an OAuth token, not an API key.
    """

    models_path = "/v1beta/models?pageSize=1000"

    def __init__(self, *, is_token: bool = False) -> None:
        self._is_token = is_token

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Sent(
            f"/v1beta/{_resource(request.model)}:{method}",
            encoded(_body(request, origin), request, origin),
            partial(read_answer, origin=origin),
            partial(StreamReader, origin),
        )

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The key in its own header, a token as a bearer token."""
        return {"authorization": f"Bearer {key}"} if self._is_token else {"x-goog-api-key": key}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The names of the models that answer generateContent, without `models/`."""
        entries = parsed.get("models") if is_object(parsed) else None
        if not is_list(entries):
            return None
        return [
            entry["name"].removeprefix("models/")
            for entry in entries
            if is_object(entry) and isinstance(entry.get("name"), str) and _answers(entry)
        ]


def _answers(entry: Mapping[str, Any]) -> bool:
    methods = entry.get("supportedGenerationMethods")
    return not is_list(methods) or "generateContent" in methods


def _resource(model: str) -> str:
    """The model as a resource: names without a collection are those of `models`."""
    kind = next((kind for kind in _KINDS if model.startswith(kind)), "")
    return f"{kind or 'models/'}{quote(model.removeprefix(kind), safe='')}"


def _body(request: ProviderRequest, origin: Origin) -> dict[str, Any]:
    conversation = Conversation(request, origin)
    body: dict[str, Any] = {"contents": conversation.contents}
    if conversation.system:
        body["systemInstruction"] = {"role": "user", "parts": conversation.system}
    body.update(_tools(request, [*conversation.names]))
    config = {_SETTINGS[name]: value for name, value in request.settings.given().items()}
    if request.output_schema is not None:
        config["responseMimeType"] = "application/json"
        schema = answer_schema(request.output_schema)
        if schema:
            config["responseJsonSchema"] = schema
    if config:
        body["generationConfig"] = config
    merged = _merged(body, request.extra)
    merged.pop("stream", None)  # whether the answer is streamed is told by the address
    return merged


def _tools(request: ProviderRequest, called: Sequence[str]) -> dict[str, Any]:
    """The tools; where the prompt holds calls and no more may be made, their names, and the mode that forbids calls."""
    if request.tools:
        return {"tools": [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]}
    if not called:
        return {}
    if request.output_schema is not None and not capabilities_of(request.model).schema_with_tools:
        return {}  # together with JSON output, these models refuse any declaration
    declared = [{"name": name, "description": "Not available any more."} for name in called]
    return {
        "tools": [{"functionDeclarations": declared}],
        "toolConfig": {"functionCallingConfig": {"mode": "NONE"}},
    }


def _declaration(tool: ToolSpec) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "description": tool.description}
    parameters = tool_parameters(tool.schema)
    if parameters is not None:
        made["parametersJsonSchema"] = parameters
    return made


def _merged(body: Mapping[str, Any], extra: Mapping[str, Data]) -> dict[str, Any]:
    """`extra` over the body; objects in both are merged: one more option of `generationConfig` costs no other."""
    made = dict(body)
    for name, value in extra.items():
        known = made.get(name)
        made[name] = _merged(known, value) if is_object(known) and is_object(value) else value
    return made
