"""OpenAI's chat completions, and every server that speaks them.

Source: https://platform.openai.com/docs/api-reference/chat (2026-02) and .../docs/guides/function-calling (2026-06).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..requests import Capabilities
from ._chat_dialect import ChatDialect, short_id
from ._chat_wire import ChatWire
from ._keys import KeySource
from ._openai_models import capabilities_of
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["OpenAI"]

_HOME: Final = Home("OPENAI_API_KEY", "https://api.openai.com/v1", probe="gpt-4.1-nano", vendor="openai")
_OWN: Final = ChatDialect(names={"max_tokens": "max_completion_tokens"}, strict_tools=True, call_id=short_id)
_COMPATIBLE: Final = ChatDialect()


class OpenAI(Vendor):
    """Chat completions of OpenAI or of any server that speaks them.

    `max_tokens` is sent as `max_completion_tokens` to OpenAI's own host, which no longer takes the old name for its
    reasoning models, and as `max_tokens` to every other, where the new name is often unknown. An answer is streamed
    only when somebody watches. OpenAI's own host is told to keep to a tool's schema (`strict`) where every argument is
    required. `reasoning_effort`, `parallel_tool_calls`, `logprobs` and all else that is no setting goes in `extra`.

    Args:
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `OPENAI_API_KEY`, which is sent to OpenAI's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`, such as `http://localhost:8000/v1`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        capabilities: What the models of another server can do. Unset, they are taken to do everything; a server that
            takes no JSON schemas or no tools is told of them in words with
            `Capabilities(json_schema=False, tools=False)`.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> local = OpenAI(base_url="http://localhost:8000/v1", name="local")
        >>> local
        OpenAI(name='local', base_url='http://localhost:8000/v1')
        >>> sorted(OpenAI(api_key="sk-example").capabilities("o1").unsupported)
        ['frequency_penalty', 'presence_penalty', 'temperature', 'top_p']
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "openai",
        headers: Mapping[str, str] | None = None,
        capabilities: Capabilities | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._capabilities = capabilities
        is_own = base_url is None or _HOME.owns(base_url)
        super().__init__(
            ChatWire(_OWN if is_own else _COMPATIBLE),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            transport=transport,
        )

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes: as given, else as listed for OpenAI's own; other hosts are taken to do everything."""
        if self._capabilities is not None:
            return self._capabilities
        return capabilities_of(model) if self._is_own else Capabilities(images=True)
