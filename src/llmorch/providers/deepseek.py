"""DeepSeek's chat completions.

Source: https://api-docs.deepseek.com/api/create-chat-completion, .../guides/thinking_mode and .../quick_start/pricing
(2026-10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..models.message import Message
from ..models.usage import Usage
from ..models.values import Data
from ..requests import Capabilities
from ._chat_dialect import ChatDialect
from ._chat_thinking import Thinking
from ._chat_wire import ChatWire
from ._keys import KeySource
from ._loose_json import is_object, usage_of
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["DeepSeek"]

_HOME: Final = Home("DEEPSEEK_API_KEY", "https://api.deepseek.com", probe="deepseek-flash", vendor="deepseek")
_SEED: Final = frozenset({"seed"})
_WHILE_THINKING: Final = _SEED | {"temperature", "presence_penalty", "frequency_penalty"}
_NO_SCHEMA: Final = Capabilities(json_schema=False, schema_with_tools=False)

# The first prefix that fits counts. `deepseek-chat` is the name under which a model answers without thinking.
_TABLE: Final = (
    ("deepseek-v4-pro", replace(_NO_SCHEMA, context_tokens=1_000_000, max_output_tokens=384_000)),
    ("deepseek-flash", replace(_NO_SCHEMA, images=True, context_tokens=1_000_000, max_output_tokens=384_000)),
    ("deepseek-v4-flash", replace(_NO_SCHEMA, images=True, context_tokens=1_000_000, max_output_tokens=384_000)),
)


class DeepSeek(Vendor):
    """Chat completions of DeepSeek, whose models think before they answer unless they are told not to.

    The thinking is kept out of the text; its beginning stands in `raw["reasoning"]`. After tool calls it is given back,
    as the vendor demands. There is no JSON schema for answers. While a model thinks, `temperature` and the penalties
    have no effect on it, and so they are refused.

    Args:
        thinking: True or False switches the thinking on or off with every call; unset, the vendor's default holds
            (on). `extra={"thinking": ...}` overrides it for a call.
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `DEEPSEEK_API_KEY`, which is sent to DeepSeek's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`; `https://api.deepseek.com/beta` has the vendor's trials.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> sorted(DeepSeek(api_key="sk-example").capabilities("deepseek-flash").unsupported)
        ['frequency_penalty', 'presence_penalty', 'seed', 'temperature']
        >>> sorted(DeepSeek(api_key="sk-example", thinking=False).capabilities("deepseek-flash").unsupported)
        ['seed']
    """

    def __init__(
        self,
        *,
        thinking: bool | None = None,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "deepseek",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._thinking = thinking
        dialect = _DIALECT
        if thinking is not None:
            dialect = replace(dialect, defaults={"thinking": {"type": "enabled" if thinking else "disabled"}})
        super().__init__(
            ChatWire(dialect),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            transport=transport,
        )

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes; of another host's models only that they are given no JSON schema."""
        if not self._is_own:
            return _NO_SCHEMA
        thinks = self._thinking if self._thinking is not None else not model.startswith("deepseek-chat")
        known = next((found for prefix, found in _TABLE if model.startswith(prefix)), _NO_SCHEMA)
        return replace(known, unsupported=_WHILE_THINKING if thinks else _SEED)


def _give_back(message: Message, made: dict[str, Any], has_calls: bool) -> None:
    """Once tools were called, every message of the assistant wants its thinking beside it, and is refused without.

    A blank stands for what is not known (another vendor's message, or one without calls): an empty text is refused.
    """
    if has_calls:
        said = message.vendor.get("reasoning_content")
        made["reasoning_content"] = said if isinstance(said, str) and said else " "


def _replay(thinking: Thinking) -> Mapping[str, Data]:
    return {"reasoning_content": thinking.text} if thinking.text else {}


def _usage(given: Any) -> Usage | None:  # Any: whatever JSON a server sent
    """The tokens; those read from the cache have a name of their own."""
    if is_object(given) and not is_object(given.get("prompt_tokens_details")):
        given = {**given, "prompt_tokens_details": {"cached_tokens": given.get("prompt_cache_hit_tokens")}}
    return usage_of(given)


_DIALECT: Final = ChatDialect(json_schema=False, give_back=_give_back, replay=_replay, usage=_usage)
