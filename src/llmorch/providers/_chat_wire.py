"""The wire format of chat completions, as OpenAI and those who speak like it have it.

Source: https://platform.openai.com/docs/api-reference/chat (2026-02).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..requests import ProviderRequest
from ._chat_answer import StreamReader, read_answer
from ._chat_request import body_of
from ._chat_schema import response_format
from ._classify import Origin
from ._loose_json import is_list, is_object
from ._vendor import Sent

__all__ = ["ChatDialect", "ChatWire"]

_MAX_FORMATS = 64


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """In what one vendor's chat completions differ from the others'.

    Attributes:
        chat_path: Where answers are asked for, behind the base address.
        models_path: Where models are listed.
        max_tokens_name: What the bound of an answer is called.
    """

    chat_path: str = "/chat/completions"
    models_path: str = "/models"
    max_tokens_name: str = "max_tokens"


class ChatWire:
    """Chat completions in one dialect."""

    def __init__(self, dialect: ChatDialect) -> None:
        self.dialect = dialect
        self._formats: dict[int, tuple[object, tuple[dict[str, Any], bool]]] = {}

    @property
    def models_path(self) -> str:
        """Where the models are listed."""
        return self.dialect.models_path

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        shape, wrapped = self._format(request)
        body = body_of(
            request,
            origin,
            stream=stream,
            max_tokens_name=self.dialect.max_tokens_name,
            response_format=shape,
        )
        return Sent(
            self.dialect.chat_path,
            body,
            partial(read_answer, origin=origin, wrapped=wrapped),
            partial(StreamReader, origin, wrapped=wrapped),
        )

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {"authorization": f"Bearer {key}"}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The ids under `data`, or of a bare list."""
        entries = parsed.get("data") if is_object(parsed) else parsed
        if not is_list(entries):
            return None
        return [str(entry["id"]) for entry in entries if is_object(entry) and "id" in entry]

    def _format(self, request: ProviderRequest) -> tuple[dict[str, Any] | None, bool]:
        """The `response_format` and whether the answer stands inside an object; worked out once for a schema."""
        schema = request.output_schema
        if schema is None:
            return None, False
        known = self._formats.get(id(schema))
        if known is None or known[0] is not schema:
            if len(self._formats) >= _MAX_FORMATS:
                self._formats.clear()
            known = self._formats[id(schema)] = (schema, response_format(schema))
        return known[1]
