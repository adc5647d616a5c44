"""The wire format of Anthropic's Messages API.

Source: https://platform.claude.com/docs/en/api/messages (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .. import _json
from ..errors import BadRequest
from ..models.settings import Settings
from ..models.values import Data
from ..requests import Capabilities, ProviderRequest, ToolSpec
from ._anthropic_answer import StreamReader, read_answer
from ._anthropic_models import capabilities_of
from ._anthropic_request import Shape, body_of
from ._anthropic_schema import MAX_OPTIONAL, MAX_STRICT_TOOLS, MAX_UNIONS, Closed, closed
from ._classify import Origin
from ._loose_json import is_list, is_object
from ._vendor import Sent

__all__ = ["MessagesWire"]

_PATH = "/v1/messages"
_DEFAULT_MAX_TOKENS = 8192
_MAX_SCHEMAS = 64
_NOTHING_SET = vars(Settings())  # the usual case: told at a glance, where `given()` walks all fields


class MessagesWire:
    """The Messages API.

    Args:
        version: Its version, which decides what models take.
        is_own: Anthropic's own host is asked.
        bearer: The key is a token.
        cache_prompt: Mark tools and system prompt as worth caching.
        strict_tools: Bind the model to the schemas of tools.
    """

    models_path = "/v1/models?limit=1000"

    def __init__(self, *, version: str, is_own: bool, bearer: bool, cache_prompt: bool, strict_tools: bool) -> None:
        self._version = version
        self._is_own = is_own
        self._bearer = bearer
        self._cache_prompt = cache_prompt
        self._strict_tools = strict_tools
        self._schemas: dict[int, tuple[object, Closed | None]] = {}

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes."""
        return capabilities_of(model, version=self._version, is_own=self._is_own)

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        able = self.capabilities(request.model)
        given = {} if vars(request.settings) == _NOTHING_SET else request.settings.given()
        if given:
            self._check(request, given, able, origin)
        body = body_of(request, origin, self._shape(request, given, able), stream=stream)
        return Sent(_PATH, body, partial(read_answer, origin=origin), partial(StreamReader, origin))

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The key in its own header, a token as a bearer's."""
        return {"authorization": f"Bearer {key}"} if self._bearer else {"x-api-key": key}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The ids under `data`."""
        entries = parsed.get("data") if is_object(parsed) else None
        if not is_list(entries):
            return None
        return [str(entry["id"]) for entry in entries if is_object(entry) and "id" in entry]

    def _check(self, request: ProviderRequest, given: Mapping[str, object], able: Capabilities, origin: Origin) -> None:
        refused = sorted(able.unsupported & given.keys())
        if refused:
            what = f"takes no {', '.join(refused)}; leave {'it' if len(refused) == 1 else 'them'} unset"
            raise BadRequest(
                f"{origin.provider} model {request.model!r} {what}",
                provider=origin.provider,
                model=request.model,
                step=request.step,
            )

    def _shape(self, request: ProviderRequest, given: Mapping[str, object], able: Capabilities) -> Shape:
        schema = request.output_schema
        said = self._closed(schema) if schema is not None and able.json_schema else None
        if said is not None and (said.optional > MAX_OPTIONAL or said.unions > MAX_UNIONS):
            said = None
        in_words = schema is not None and said is None
        return Shape(
            max_tokens=able.max_output_tokens or _DEFAULT_MAX_TOKENS,
            settings=given,
            tools=self._tools(request.tools, said, strict=self._strict_tools and able.json_schema)
            if request.tools
            else (),
            schema=said.schema if said is not None else None,
            instruction=f"Answer with JSON only, satisfying this JSON schema:\n{_json.dumps(schema)}"
            if in_words
            else "",
            cache_prompt=self._cache_prompt,
        )

    def _tools(self, tools: Sequence[ToolSpec], answer: Closed | None, *, strict: bool) -> tuple[dict[str, Data], ...]:
        """The tools, strict as long as the limits of one request allow it."""
        made: list[dict[str, Data]] = []
        optional, unions = (answer.optional, answer.unions) if answer is not None else (0, 0)
        count = 0
        for tool in tools:
            entry: dict[str, Any] = {"name": tool.name}
            if tool.description:
                entry["description"] = tool.description
            entry["input_schema"] = tool.schema if "type" in tool.schema else {"type": "object", **tool.schema}
            said = self._closed(tool.schema) if strict and count < MAX_STRICT_TOOLS else None
            if (
                said is not None
                and said.schema.get("type") == "object"
                and optional + said.optional <= MAX_OPTIONAL
                and unions + said.unions <= MAX_UNIONS
            ):
                optional, unions, count = optional + said.optional, unions + said.unions, count + 1
                entry |= {"input_schema": said.schema, "strict": True}
            made.append(entry)
        return tuple(made)

    def _closed(self, schema: Mapping[str, Data]) -> Closed | None:
        """The schema in the dialect; worked out once for a schema."""
        known = self._schemas.get(id(schema))
        if known is None or known[0] is not schema:
            if len(self._schemas) >= _MAX_SCHEMAS:
                self._schemas.clear()
            known = self._schemas[id(schema)] = (schema, closed(schema))
        return known[1]
