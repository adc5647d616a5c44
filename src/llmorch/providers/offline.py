"""Answers without any model or network: extracts of the prompt itself. It is no LLM and does not pretend to be one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from .. import _json
from ..errors import BadRequest
from ..models.usage import Usage
from ..models.values import Data
from ..ports import OnDelta
from ..requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus

__all__ = ["Offline"]

_MODELS = ("auto", "echo", "keywords", "summary")
_NOTICE = "no language model answered: the text is made of the prompt's own words"
_CHARACTERS_PER_TOKEN = 4
_WORTH_A_THREAD = 4000
_WORDS_PER_CHECKPOINT = 32


class Offline:
    """Makes readable answers out of the prompt: the same for the same prompt, in every process, at no cost.

    It is not a language model. It is for trying a workflow without a key, for demonstrations and for tests. Models:

    - `summary`: the sentences that matter most (TextRank), as many as the prompt names, else three to five;
    - `keywords`: the words that matter most;
    - `echo`: the last user message as it is;
    - `auto`: a summary, keywords, a title, an outline, questions, a list of sentences or paragraphs: whatever the
      instruction names first.

    The task is the last user message. What of it is instruction and what is source is decided by the first rule that
    fits: the source stands in code fences or `<tags>`; after the first line that ends in a colon; after a colon in the
    first line; after the first paragraph; before the last. An output schema is filled with sentences, key words and
    counts. Settings are taken and have no effect, but for `max_tokens` and `stop`; tools are never called. Tokens are
    counted as four characters each.

    Example:
        >>> import anyio
        >>> from llmorch.models.message import Message
        >>> prompt = Message("user", "List the claims made in:\\nTea is a hot drink. Ice cream is a cold dessert.")
        >>> print(anyio.run(Offline().complete, ProviderRequest("auto", (prompt,))).text)
        - Tea is a hot drink.
        - Ice cream is a cold dessert.
    """

    def __init__(self, *, name: str = "offline") -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"Offline(name={self._name!r})"

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        return self._name

    def missing_credential(self) -> str | None:
        """Never anything: no key is needed."""
        return None

    def capabilities(self, model: str) -> Capabilities:
        """Streams, fills schemas, calls no tools."""
        return Capabilities(tools=False)

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """The answer; a long prompt is read in a worker thread.

        Raises:
            BadRequest: There is no such model, or no user message.
        """
        text = self._task(request)
        if len(text) > _WORTH_A_THREAD:
            import anyio.to_thread

            answer = await anyio.to_thread.run_sync(_answer, request.model, text, request.output_schema)
        else:
            answer = _answer(request.model, text, request.output_schema)
        answer, finish_reason = _cut(answer, request.settings.max_tokens, request.settings.stop)
        if on_delta is not None:
            await _stream(answer, on_delta)
        return ProviderResponse(
            text=answer,
            usage=Usage(
                input_tokens=sum(_tokens(message.text) for message in request.messages),
                output_tokens=_tokens(answer),
                requests=1,
            ),
            finish_reason=finish_reason,
            model=request.model,
            raw={"notice": _NOTICE},
        )

    async def models(self) -> list[str]:
        """The names of its models."""
        return list(_MODELS)

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        """Always well."""
        return ProviderStatus(True, latency=0.0, detail=f"offline: {_NOTICE}")

    async def aclose(self) -> None:
        """Nothing to close."""

    def _task(self, request: ProviderRequest) -> str:
        if request.model not in _MODELS:
            near = difflib.get_close_matches(request.model, _MODELS, 1, 0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            raise BadRequest(
                f"{self._name} has no model {request.model!r}{hint} it has {', '.join(_MODELS)}",
                provider=self._name,
                model=request.model,
            )
        message = next((one for one in reversed(request.messages) if one.role == "user" and one.text.strip()), None)
        if message is None:
            raise BadRequest(
                f"{self._name} reads the last user message, and the prompt has none; give a block the role 'user'",
                provider=self._name,
                model=request.model,
            )
        return message.text


def _answer(model: str, text: str, schema: Mapping[str, Data] | None) -> str:
    from ._offline_text import read_task
    from ._offline_writer import Writer, kind_asked

    if model == "echo" and (schema is None or _is_json(text)):
        return text
    task = read_task(text)
    writer = Writer(task)
    if schema is not None:
        from ._offline_schema import Filler

        plain: dict[str, Any] = _json.loads(_json.dumps(schema))
        return _json.dumps(Filler(plain, writer).value())
    return writer.write(kind_asked(task.instruction) if model == "auto" else model)


def _is_json(text: str) -> bool:
    try:
        _json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _cut(text: str, max_tokens: int | None, stop: tuple[str, ...]) -> tuple[str, str]:
    ends = [at for at in (text.find(mark) for mark in stop if mark) if at >= 0]
    if ends:
        text = text[: min(ends)]
    if max_tokens is None or _tokens(text) <= max_tokens:
        return text, "stop"
    return text[: max_tokens * _CHARACTERS_PER_TOKEN], "length"


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


async def _stream(text: str, on_delta: Callable[[str], None]) -> None:
    from anyio.lowlevel import checkpoint

    pieces = text.split(" ")
    for index, word in enumerate(pieces):
        piece = word if index == len(pieces) - 1 else f"{word} "
        if piece:
            on_delta(piece)
        if index % _WORDS_PER_CHECKPOINT == 0:
            await checkpoint()
