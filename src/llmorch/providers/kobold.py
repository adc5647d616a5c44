"""KoboldCpp's and KoboldAI's generate API: one model, one prompt as raw text.

Source: https://github.com/LostRuins/koboldcpp/blob/concedo/koboldcpp.py (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..errors import BadRequest
from ..models.message import Message, Text
from ..ports import OnDelta
from ..requests import Capabilities, ProviderRequest, ProviderResponse
from ._classify import Origin
from ._keys import KeySource
from ._kobold_answer import StreamReader, read_answer
from ._loose_json import is_object
from ._prompt_formats import FORMATS, FormatName, PromptFormat
from ._vendor import Home, Sent, Vendor, encoded

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["Kobold"]

_LOCAL: Final = "http://localhost:5001"
_HOME: Final = Home("KOBOLD_API_KEY", needs_key=False)
_NAMES: Final = {"max_tokens": "max_length", "seed": "sampler_seed", "stop": "stop_sequence"}
_UNSUPPORTED: Final = frozenset(("frequency_penalty",))
_NO_MODEL: Final = ("", "inactive", "ReadOnly")


class _KoboldWire:
    """The generate API with prompts in one format."""

    def __init__(self, form: PromptFormat) -> None:
        self._form = form

    @property
    def models_path(self) -> str:
        """Where the server names its one model."""
        return "/api/v1/model"

    def sent(self, request: ProviderRequest, origin: Origin, *, stream: bool) -> Sent:
        """The request as it is sent; raises BadRequest for what this API does not take."""
        _refuse_more_than_text(request, origin)
        given = request.settings.given()
        # The format's own marks stop the model from writing the user's next turn.
        stop = (*dict.fromkeys((*request.settings.stop, *self._form.stop)),)
        body: dict[str, Any] = {"prompt": self._form.prompt(request.messages)}
        body.update((_NAMES.get(name, name), value) for name, value in given.items())
        body |= {"stop_sequence": stop, "trim_stop": True, **request.extra}
        body.pop("stream", None)  # the address decides
        return Sent(
            "/api/extra/generate/stream" if stream else "/api/v1/generate",
            encoded(body, request, origin),
            partial(read_answer, origin=origin, stop=stop),
            partial(StreamReader, origin),
        )

    def key_headers(self, key: str) -> Mapping[str, str]:
        """The server's password as a bearer token."""
        return {"authorization": f"Bearer {key}"}

    def models_in(self, parsed: Any) -> Sequence[str] | None:  # Any: whatever JSON a server sent
        """The one name under `result`; none while no model is loaded."""
        name = parsed.get("result") if is_object(parsed) else None
        if not isinstance(name, str):
            return None
        return [] if name in _NO_MODEL else [name]


def _refuse_more_than_text(request: ProviderRequest, origin: Origin) -> None:
    what = ""
    if request.tools:
        what = "offers tools, which this API has no place for"
    elif any(not _is_text(message) for message in request.messages):
        what = "holds an Image or a File, which this API does not take"
    if what:
        of = f"of step {request.step!r} " if request.step else ""
        raise BadRequest(
            f"a request {of}to {origin.provider} {what}; use another provider for it",
            provider=origin.provider,
            model=origin.model,
            step=request.step,
        )


def _is_text(message: Message) -> bool:
    return isinstance(message.content, str) or all(isinstance(part, Text) for part in message.content)


class Kobold(Vendor):
    """The one model that a KoboldCpp or KoboldAI server has loaded.

    The server knows no messages: the conversation is written as one text in the format the model was trained on, and
    what looks like the format's own marks in a message gets a blank inside. Whatever model is asked for, the loaded one
    answers. Without `max_tokens` the server's own bound holds, which may be as low as 100 tokens.

    Args:
        api_key: The server's password, or a function (sync or async) that gives it before each call. Unset: the stored
            `KOBOLD_API_KEY`, where the credential lists the host; most servers have none.
        base_url: What stands before `/api/v1/generate`. Unset: `http://localhost:5001`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.
        format: `llama` (Llama 2), `llama-chat` (Llama 3 and later), `mistral` or `command-r`.
        streaming: False for servers whose streams have no end mark, or that have none (KoboldAI): answers come whole.

    Raises:
        ValueError: `base_url` is no http(s) address, or holds a password or a query; there is no such `format`.

    Example:
        >>> Kobold(format="mistral")
        Kobold(name='kobold', base_url='http://localhost:5001')
        >>> Kobold().capabilities("any").tools
        False
    """

    def __init__(
        self,
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        name: str = "kobold",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        format: FormatName = "llama-chat",
        streaming: bool = True,
    ) -> None:
        form = FORMATS.get(format)
        if form is None:
            raise ValueError(f"there is no prompt format {format!r}; known are {', '.join(FORMATS)}")
        super().__init__(
            _KoboldWire(form),
            _HOME,
            name=name,
            api_key=api_key,
            base_url=base_url or _LOCAL,
            headers=headers,
            transport=transport,
        )
        self._streaming = streaming

    def capabilities(self, model: str) -> Capabilities:
        """Text in, text out."""
        return Capabilities(streaming=self._streaming, tools=False, json_schema=False, unsupported=_UNSUPPORTED)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """Send one request and give its whole answer; without streaming, `on_delta` is called once."""
        if on_delta is None or self._streaming:
            return await super().complete(request, on_delta=on_delta)
        answer = await super().complete(request)
        if answer.text:
            on_delta(answer.text)
        return answer
