"""Mistral's chat completions.

Source: https://docs.mistral.ai/api and .../capabilities/reasoning (2026-10).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..models.message import File, Message
from ..models.values import Data
from ..requests import Capabilities
from ._chat_dialect import ChatDialect
from ._chat_thinking import Thinking, given_back
from ._chat_wire import ChatWire
from ._keys import KeySource
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["Mistral"]

_HOME: Final = Home("MISTRAL_API_KEY", "https://api.mistral.ai/v1", probe="mistral-small-latest", vendor="mistral")
_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# A schema for the answer is refused beside tools, by every model.
_ANY: Final = Capabilities(images=True, schema_with_tools=False)
_TEXT_ONLY: Final = replace(_ANY, images=False)

# The first prefix that fits counts; names that end in `-latest` move, and of them no sizes are claimed.
_TABLE: Final = (
    ("mistral-medium-3-5", replace(_ANY, context_tokens=262_144)),
    ("mistral-small-2603", replace(_ANY, context_tokens=256_000)),
    ("open-mistral-nemo", replace(_TEXT_ONLY, context_tokens=128_000)),
    ("codestral", _TEXT_ONLY),
    ("devstral", _TEXT_ONLY),
    ("open-", _TEXT_ONLY),
)


class Mistral(Vendor):
    """Chat completions of Mistral.

    Thinking is kept out of the text; its beginning stands in `raw["reasoning"]`, and it is given back with tool calls.
    Ids of tool calls are nine letters or digits here; those of other vendors are turned into such. Files go by address.

    Args:
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `MISTRAL_API_KEY`, which is sent to Mistral's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> Mistral(api_key="example").capabilities("mistral-medium-3-5").context_tokens
        262144
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "mistral",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(
            ChatWire(_DIALECT),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            transport=transport,
        )

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes, as far as it is known."""
        return next((found for prefix, found in _TABLE if model.startswith(prefix)), _ANY)


def _call_id(given: str) -> str:
    """The id itself when it is nine letters or digits, else nine made from it."""
    if _ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.sha256(given.encode()).digest()[:8], "big")
    letters: list[str] = []
    for _ in range(9):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(letters)


def _file(part: File) -> dict[str, Any]:
    return {"type": "document_url", "document_url": part.url} | ({"document_name": part.name} if part.name else {})


def _give_back(message: Message, made: dict[str, Any], has_calls: bool) -> None:
    thinking = given_back(message.vendor.get("mistral_thinking"))
    if thinking:
        content = made["content"]
        text = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        made["content"] = [*thinking, *text]


def _replay(thinking: Thinking) -> Mapping[str, Data]:
    return {"mistral_thinking": list(thinking.chunks)} if thinking.chunks else {}


_DIALECT: Final = ChatDialect(
    names={"seed": "random_seed"},
    asks_for_usage=False,  # the last chunk tells of it, and a field that is not known here is refused
    names_tools=True,
    call_id=_call_id,
    file=_file,
    give_back=_give_back,
    replay=_replay,
)
