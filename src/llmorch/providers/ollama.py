"""Ollama's own chat API, on this machine or in its cloud.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md (2026-11).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import _json
from ..errors import BadRequest, ProviderError
from ..models.values import Data
from ..requests import Capabilities, ProviderRequest
from ._classify import Origin
from ._keys import KeySource
from ._loose_json import is_list, is_object
from ._ollama_answer import StreamReader, read_answer
from ._ollama_models import takes_tools
from ._ollama_request import body_of
from ._vendor import Home, Sent, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["Ollama"]

_LOCAL: Final = "http://localhost:11434"
_HOME: Final = Home("OLLAMA_API_KEY", hosts=("ollama.com",))


class _OllamaWire:
    """Ollama's wire format, with the model options of every request."""

    def __init__(self, options: Mapping[str, Data]) -> None:
        self._options = options

    @property
    def models_path(self) -> str:
        """Where the installed models are listed."""
        return "/api/tags"

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        return Sent(
            "/api/chat",
            body_of(request, origin, stream=stream, options=self._options),
            partial(read_answer, origin=origin),
            partial(StreamReader, origin),
        )

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The key as a bearer token."""
        return {"authorization": f"Bearer {key}"}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The names under `models`.

        Servers of chat completions that answer here, too, list `data` beside them: they are no Ollama.
        """
        entries = parsed.get("models") if is_object(parsed) and "data" not in parsed else None
        if not is_list(entries):
            return None
        names = (entry.get("name") or entry.get("model") for entry in entries if is_object(entry))
        return [name for name in names if isinstance(name, str)]


class Ollama(Vendor):
    """Models that Ollama runs.

    A local server needs no key. Ollama cuts a prompt that is longer than `num_ctx` (4 096 tokens on most machines)
    without a word: set it where prompts are long. Its cloud is asked with `base_url="https://ollama.com"` and a key.

    Args:
        api_key: The key, or a function (sync or async) that gives it before each call. Unset: the stored
            `OLLAMA_API_KEY`, which is sent to `https://ollama.com` only, unless the credential lists another host.
        base_url: What stands before `/api/chat`. Unset: `http://localhost:11434`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        capabilities: What its models can do, where that is known better: `Capabilities(tools=False)` has the tools
            told in words to a model that cannot be offered any.
        transport: Used instead of the pooled connections.
        options: Model options of every request, such as `num_ctx` (tokens) or `num_gpu` (layers). Settings of a call
            override them, and `options` in its `extra` override both, each by name. `extra` takes `keep_alive` and
            `think`, too.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query; `options` hold what is no JSON.

    Example:
        >>> Ollama(options={"num_ctx": 8192})
        Ollama(name='ollama', base_url='http://localhost:11434')
        >>> Ollama(options={"num_ctx": 8192}).capabilities("llama3.2").context_tokens
        8192
        >>> Ollama().capabilities("llama2").tools
        False
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "ollama",
        headers: Mapping[str, str] | None = None,
        capabilities: Capabilities | None = None,
        transport: Transport | None = None,
        options: Mapping[str, Data] | None = None,
    ) -> None:
        self._capabilities = capabilities
        try:
            chosen: dict[str, Any] = _json.loads(_json.dumps(dict(options or {})))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"options hold what is no JSON ({error}); give numbers, text, true, false or lists"
            ) from None
        super().__init__(
            _OllamaWire(chosen),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url or _LOCAL,
            headers=headers,
            transport=transport,
        )
        context = chosen.get("num_ctx")
        self._context_tokens = context if type(context) is int and context > 0 else None

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do, as far as it is known; a schema keeps every model from calling tools."""
        if self._capabilities is not None:
            return self._capabilities
        return Capabilities(
            tools=takes_tools(model),
            images=True,
            context_tokens=self._context_tokens,
            # https://github.com/ollama/ollama/issues/11037: the grammar of `format` leaves no room for a tool call
            schema_with_tools=False,
        )

    async def _not_found(self, error: ProviderError, origin: Origin) -> ProviderError:
        """The error for a model that is not installed, with the command that installs it."""
        _, _, said = error.message.partition(f"for model {origin.model!r}: ")
        found = await super()._not_found(error, origin)
        if "model" not in said.partition(";")[0]:  # another 404: the address is wrong
            return found
        return BadRequest(
            f"{found.message}; or install it with `ollama pull {shlex.quote(origin.model)}`",
            provider=error.provider,
            model=error.model,
            status=404,
        )
