"""Anthropic's Messages API.

Source: https://platform.claude.com/docs/en/api/messages (2026-11), version 2023-06-01 of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..requests import Capabilities
from ._anthropic_wire import MessagesWire
from ._keys import KeySource
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["Anthropic"]

_HOME: Final = Home("ANTHROPIC_API_KEY", "https://api.anthropic.com", probe="claude-haiku-5-5", vendor="anthropic")


class Anthropic(Vendor):
    """Claude models through the Messages API, pinned to its version 2023-06-01.

    System messages, wherever they stand, become the system prompt. `max_tokens`, which the API demands, is the model's
    largest unless it is set, 8 192 where that is unknown. Thinking is asked for with `extra`, never shows in the text,
    and goes back to the model with its signatures when tools were called. A schema that the structured outputs cannot
    say (free keys, recursion) is put into words, and the answer is checked all the same.

    Args:
        api_key: The key; or a function (sync or async) that gives an OAuth token before each call, which goes out as a
            bearer's. Unset: the stored `ANTHROPIC_API_KEY`, which is sent to Anthropic's own host only, unless the
            credential lists another.
        base_url: The origin of another server that speaks this API, what stands before `/v1/messages`.
        name: The part of a model id before the colon.
        headers: Sent with every request, such as `anthropic-beta`.
        transport: Used instead of the pooled connections.
        version: The `anthropic-version`. The pinned one takes `temperature` and `top_p` for models before Claude
            Opus 4.7; `2026-10-21`, which the vendor's own packages send, takes them for none.
        cache_prompt: Mark the ends of the tools and of the system prompt for the prompt cache (5 minutes; writing costs
            a quarter more, reading a tenth). Other marks can be set with `extra`.
        strict_tools: Bind the model to the schemas of tools, for as many as one request may hold. The API refuses
            requests whose schemas are too large together, in ways it does not publish.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> claude = Anthropic(api_key="sk-ant-example")
        >>> claude.capabilities("claude-opus-5-5").max_output_tokens
        128000
        >>> sorted(claude.capabilities("claude-opus-5-5").unsupported)
        ['frequency_penalty', 'presence_penalty', 'seed', 'temperature', 'top_p']
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "anthropic",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        version: str = "2023-06-01",
        cache_prompt: bool = False,
        strict_tools: bool = False,
    ) -> None:
        self._messages = MessagesWire(
            version=version,
            is_own=base_url is None or _HOME.owns(base_url),
            bearer=callable(api_key),
            cache_prompt=cache_prompt,
            strict_tools=strict_tools,
        )
        super().__init__(
            self._messages,
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers={"anthropic-version": version, **(headers or {})},
            transport=transport,
        )

    def capabilities(self, model: str) -> Capabilities:
        """What the model takes; of unknown models' sizes nothing is claimed."""
        return self._messages.capabilities(model)
