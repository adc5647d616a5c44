"""The wire format of chat completions, as OpenAI and those who speak like it have it.

Source: https://platform.openai.com/docs/api-reference/chat (2026-02).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from ..models.values import Data
from ..requests import ProviderRequest, ToolSpec
from ._chat_answer import read_answer
from ._chat_dialect import ChatDialect
from ._chat_request import body_of
from ._chat_schema import response_format, strict_parameters
from ._chat_stream import StreamReader
from ._classify import Origin
from ._loose_json import is_list, is_object
from ._vendor import Sent

__all__ = ["ChatDialect", "ChatWire"]

_MAX_KNOWN = 256
_ANY_JSON: Mapping[str, Any] = {"type": "json_object"}


class ChatWire:
    """Chat completions in one dialect."""

    def __init__(self, dialect: ChatDialect) -> None:
        self.dialect = dialect
        self._names_model = "{model}" in dialect.chat_path
        self._known: dict[tuple[int, object], tuple[object, Any]] = {}  # Any: what was worked out for a schema

    @property
    def models_path(self) -> str:
        """Where the models are listed."""
        return self.dialect.models_path

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        dialect = self.dialect
        shape, wrapped = self._format(request)
        body = body_of(
            request,
            origin,
            dialect,
            stream=stream,
            tools=[self._tool(tool) for tool in request.tools] if request.tools else (),
            response_format=shape,
        )
        path = dialect.chat_path
        return Sent(
            path.replace("{model}", quote(request.model, safe="")) if self._names_model else path,
            body,
            partial(read_answer, origin=origin, dialect=dialect, wrapped=wrapped),
            partial(StreamReader, origin, dialect=dialect, wrapped=wrapped),
        )

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The key as a bearer token, or alone in the vendor's own header."""
        return {self.dialect.key_header: key} if self.dialect.key_header else {"authorization": f"Bearer {key}"}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The ids under `data`, or of a bare list."""
        entries = parsed.get("data") if is_object(parsed) else parsed
        if not is_list(entries):
            return None
        return [str(entry["id"]) for entry in entries if is_object(entry) and "id" in entry]

    def _format(self, request: ProviderRequest) -> tuple[Mapping[str, Any] | None, bool]:
        """The `response_format` and whether the answer stands inside an object; worked out once for a schema."""
        if request.output_schema is None:
            return None, False
        if not self.dialect.json_schema:
            return _ANY_JSON, False
        found: tuple[Mapping[str, Any], bool] = self._once(request.output_schema, response_format)
        return found

    def _tool(self, tool: ToolSpec) -> dict[str, Any]:
        function: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
        if self.dialect.strict_tools:
            strict = self._once(tool.schema, strict_parameters)
            if strict is not None:
                function |= {"parameters": strict, "strict": True}
        return {"type": "function", "function": function}

    def _once(
        self,
        schema: Mapping[str, Data],
        work_out: Callable[[Mapping[str, Data]], Any],  # Any: what it gives
    ) -> Any:  # Any: as above
        key = (id(schema), work_out)
        known = self._known.get(key)
        if known is None or known[0] is not schema:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = (schema, work_out(schema))
        return known[1]
