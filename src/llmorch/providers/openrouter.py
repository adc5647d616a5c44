"""OpenRouter's chat completions: the models of many vendors behind one address.

Source: https://openrouter.ai/docs/api-reference, .../docs/use-cases/reasoning-tokens, .../usage-accounting and
.../docs/api/reference/errors-and-debugging (2026-10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .. import _clock
from ..errors import LLMOrchError
from ..models.message import Message
from ..models.usage import Usage
from ..models.values import Data
from ..requests import Capabilities, ProviderStatus
from ._chat_dialect import ChatDialect
from ._chat_errors import error_in_own_words
from ._chat_thinking import Thinking, given_back
from ._chat_wire import ChatWire
from ._classify import Complaint, Origin, complaint_in
from ._keys import KeySource
from ._loose_json import is_object, usage_of, written
from ._openai_models import capabilities_of
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Reply, Transport

__all__ = ["OpenRouter"]

_HOME: Final = Home(
    "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", probe="openai/gpt-4.1-nano", vendor="openrouter"
)
_KEY_PATH: Final = "/key"
_CHECK_TIMEOUT_S: Final = 10


class OpenRouter(Vendor):
    """Chat completions of the models that OpenRouter passes calls on to.

    A model is named with its vendor: `openrouter:anthropic/claude-sonnet-4.5`. What a model does not take, OpenRouter
    leaves out without a word; so every request demands a server that takes all of it (`require_parameters`).

    Args:
        require_parameters: False lets settings be left out by servers that do not take them.
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `OPENROUTER_API_KEY`, which is sent to OpenRouter's own host only, unless the credential lists another.
        base_url: What stands before `/chat/completions`.
        name: The part of a model id before the colon.
        headers: Sent with every request; `HTTP-Referer` and `X-Title` name your application there.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query.

    Example:
        >>> OpenRouter(api_key="example", headers={"X-Title": "Acme"})
        OpenRouter(name='openrouter', base_url='https://openrouter.ai/api/v1')
    """

    def __init__(
        self,
        *,
        require_parameters: bool = True,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "openrouter",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        dialect = _DIALECT
        if require_parameters:
            dialect = replace(dialect, defaults={"provider": {"require_parameters": True}})
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
        """What the model takes: of OpenAI's models as much as OpenAI says, of the others nothing is claimed."""
        vendor, _, own = model.partition("/")
        return capabilities_of(own) if vendor == "openai" else Capabilities(images=True)

    async def check(self, *, detailed: bool = False, model: str | None = None) -> ProviderStatus:
        """Whether OpenRouter answers and takes the key; its list of models, which is open to all, would not tell.

        Args:
            detailed: Also ask a model for one token, which may cost a little.
            model: The one to ask; unset: a small one.
        """
        start = _clock.monotonic()
        origin = self._origin("")
        try:
            headers = await self._headers(origin)
            await self._checked(await self._http().get(_KEY_PATH, headers=headers, timeout=_CHECK_TIMEOUT_S), origin)
        except LLMOrchError as error:
            line = f"GET {_KEY_PATH}: {error.message}" if detailed else error.message
            return ProviderStatus(False, latency=_clock.monotonic() - start, detail=line)
        return await super().check(detailed=detailed, model=model)

    async def _checked(self, reply: Reply, origin: Origin) -> bytes:
        error = error_in_own_words(reply, origin, _complaint)
        if error is not None:
            raise error
        return await super()._checked(reply, origin)


def _give_back(message: Message, made: dict[str, Any], has_calls: bool) -> None:
    details, text = given_back(message.vendor.get("reasoning_details")), message.vendor.get("reasoning")
    if details:
        made["reasoning_details"] = details
    elif isinstance(text, str):
        made["reasoning"] = text


def _replay(thinking: Thinking) -> Mapping[str, Data]:
    if thinking.details:
        return {"reasoning_details": list(thinking.details)}
    return {"reasoning": thinking.text} if thinking.text else {}


def _usage(given: Any) -> Usage | None:  # Any: whatever JSON a server sent
    """The tokens, with those that were written to a cache."""
    usage = usage_of(given)
    details = given.get("prompt_tokens_details") if is_object(given) else None
    wrote = details.get("cache_write_tokens") if is_object(details) else None
    if usage is None or type(wrote) is not int or not 0 <= wrote <= usage.input_tokens - usage.cached_tokens:
        return usage
    return replace(usage, cache_write_tokens=wrote)


def _complaint(parsed: Any) -> Complaint | None:  # Any: as above
    """The complaint with what the server behind OpenRouter said, and with a flagged prompt told as such."""
    told = complaint_in(parsed)
    error = parsed.get("error") if is_object(parsed) else None
    about = error.get("metadata") if is_object(error) else None
    if told is None or not is_object(about):
        return told
    if about.get("reasons") or about.get("flagged_input"):
        return told._replace(
            text=f"{told.text}: {written(about.get('reasons'))}", code="content_policy_violation", status=400
        )
    if about.get("raw"):
        return told._replace(
            text=f"{told.text} ({about.get('provider_name') or 'the provider'}: {written(about['raw'])})"
        )
    return told


_DIALECT: Final = ChatDialect(
    asks_for_usage=False,  # every answer tells of it
    declares_tools=True,
    give_back=_give_back,
    replay=_replay,
    usage=_usage,
    complaint=_complaint,
)
