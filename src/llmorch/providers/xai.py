"""xAI's chat completions.

Source: https://docs.x.ai/docs/api-reference#chat-completions, .../docs/guides/reasoning and
.../docs/key-information/consumption-and-rate-limits (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..models.usage import Usage
from ..requests import Capabilities
from ._chat_dialect import ChatDialect
from ._chat_errors import error_in_own_words
from ._chat_wire import ChatWire
from ._classify import Complaint, Origin, complaint_in
from ._keys import KeySource
from ._loose_json import is_object, usage_of
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Reply, Transport

__all__ = ["XAI"]

_HOME: Final = Home("XAI_API_KEY", "https://api.x.ai/v1", probe="grok-4.3", vendor="xai")
_NOT_WHILE_REASONING: Final = frozenset({"presence_penalty", "frequency_penalty", "stop"})
_BAD_KEY: Final = re.compile(r"(incorrect|invalid) api key", re.IGNORECASE)

_SEES: Final = Capabilities(images=True)
_OLD: Final = Capabilities(context_tokens=131_072, schema_with_tools=False)

# The first prefix that fits counts.
_TABLE: Final = (
    ("grok-4.5", replace(_SEES, context_tokens=500_000)),
    ("grok-4.3", replace(_SEES, context_tokens=1_000_000)),
    ("grok-4-1-fast", replace(_SEES, context_tokens=2_000_000)),
    ("grok-4-fast", replace(_SEES, context_tokens=2_000_000)),
    ("grok-4-", replace(_SEES, context_tokens=256_000)),
    ("grok-code-fast", Capabilities(context_tokens=256_000)),
    ("grok-3", _OLD),
    ("grok-2-vision", replace(_OLD, images=True, context_tokens=32_768)),
    ("grok-2", _OLD),
)


class XAI(Vendor):
    """Chat completions of xAI's Grok models.

    Reasoning models refuse penalties and stop sequences. Their reasoning is billed as output, and counted as such in
    the usage; where xAI shows it, its beginning stands in `raw["reasoning"]`.

    Args:
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `XAI_API_KEY`, which is sent to xAI's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> sorted(XAI(api_key="example").capabilities("grok-4.5").unsupported)
        ['frequency_penalty', 'presence_penalty', 'stop']
        >>> sorted(XAI(api_key="example").capabilities("grok-4-fast-non-reasoning").unsupported)
        []
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "xai",
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
        known = next((found for prefix, found in _TABLE if model.startswith(prefix)), None)
        if known is None and model != "grok-4" and not model.startswith("grok-4."):
            return _SEES
        known = known or _SEES
        return replace(known, unsupported=_NOT_WHILE_REASONING) if _reasons(model) else known

    async def _checked(self, reply: Reply, origin: Origin) -> bytes:
        error = error_in_own_words(reply, origin, _complaint)
        if error is not None:
            raise error
        return await super()._checked(reply, origin)


def _reasons(model: str) -> bool:
    return "non-reasoning" not in model and model.startswith(("grok-4", "grok-3-mini", "grok-code-fast"))


def _complaint(parsed: Any) -> Complaint | None:  # Any: whatever JSON a server sent
    """The complaint; a key that is none is told with status 400."""
    told = complaint_in(parsed)
    return told._replace(status=401) if told is not None and _BAD_KEY.search(told.text) else told


def _usage(given: Any) -> Usage | None:  # Any: as above
    """The tokens; reasoning is not counted among those of the completion, only in the total."""
    usage = usage_of(given)
    details = given.get("completion_tokens_details") if is_object(given) else None
    reasoning = details.get("reasoning_tokens") if is_object(details) else None
    if usage is None or type(reasoning) is not int or reasoning <= 0 or given.get("total_tokens") == usage.total_tokens:
        return usage
    return usage_of({**given, "completion_tokens": usage.output_tokens + reasoning})


_DIALECT: Final = ChatDialect(
    names={"max_tokens": "max_completion_tokens"},
    usage=_usage,
    complaint=_complaint,
)
