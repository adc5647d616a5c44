"""A provider whose answers are written down beforehand, step by step."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import cast

from .._clock import sleep
from ..errors import LLMOrchError
from ..models.usage import Usage
from ..models.values import Data, to_data
from ..ports import OnDelta
from ..requests import Capabilities, ProviderRequest, ProviderResponse, ProviderStatus

__all__ = ["Reply", "ScriptError", "ScriptedProvider"]

_INDEX = re.compile(r"\[\d+\]|@\d+")
_TURN = re.compile(r"@\d+")
_WORDS = re.compile(r"\s*\S+\s*|\s+")
_EVERYTHING = Capabilities(images=True)


class ScriptError(LLMOrchError, AssertionError):
    """A step asked for an answer the script does not have; the test or its script is wrong."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its manner of coming.

    Args:
        answer: Whatever a script may hold, an exception included.
        delay: Seconds before the first piece of the answer comes, on the running loop's clock.
        chunks: Pieces in which the text is streamed when somebody watches; together they must be the text. Before an
            exception they are what came until the stream broke. None: word by word.

    Example:
        >>> Reply("Hello you", delay=2.5, chunks=["Hel", "lo you"]).delay
        2.5
    """

    answer: object
    delay: float = 0.0
    _: KW_ONLY
    chunks: Sequence[str] | None = None


class ScriptedProvider:
    """A provider that answers from a script and keeps every request it got.

    A key of the script is a step's path (`review[3]/check`), else the bare name of the path's last part (`check`; for
    `review[3]` it is `review`), else `"*"`. A value is one answer for every request, or a **list** of answers that
    each step path uses up in order on its own (the iterations of a loop together). An answer is one of

    - text, sent as it is;
    - data (numbers, dicts, pydantic models; a list of data stands inside the list of answers: `[[1, 2]]`), sent as
      JSON. When the request asks for the object `{"value": ...}`, a bare answer is wrapped; text that is no fitting
      value is sent as it is, so that a bad answer stays one;
    - a `ProviderResponse`, given as it is;
    - an exception or exception class, raised;
    - a function of the `ProviderRequest`, sync or async, that returns any of these (a list it returns is data);
    - a `Reply`, which adds a delay or the pieces of a stream.

    Usage is counted as characters / 4, rounded up, of the messages and of the answer, and one request.

    Args:
        script: Step -> answer or list of answers.
        name: The part of a model id before the colon.
        capabilities: What every model can do; by default everything.

    Attributes:
        requests: Every request, in the order of arrival.

    Example:
        >>> import anyio
        >>> from llmorch.models.message import Message
        >>> provider = ScriptedProvider({"greet": ["Hello", "Hello again"]})
        >>> request = ProviderRequest("any", (Message("user", "Hi"),), step="greet")
        >>> anyio.run(provider.complete, request).text, anyio.run(provider.complete, request).text
        ('Hello', 'Hello again')
        >>> len(provider.requests_of("greet"))
        2
    """

    def __init__(
        self, script: Mapping[str, object], *, name: str = "scripted", capabilities: Capabilities | None = None
    ) -> None:
        self._script = dict(script)
        self._name = name
        self._capabilities = capabilities or _EVERYTHING
        self._used: dict[tuple[str, str | None], int] = {}
        self.requests: list[ProviderRequest] = []

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        return self._name

    def capabilities(self, model: str) -> Capabilities:
        """What was given, for every model."""
        return self._capabilities

    def requests_of(self, step: str) -> tuple[ProviderRequest, ...]:
        """The requests of one step path, or of every path whose last part has this bare name, in order of arrival."""
        return tuple(
            request
            for request in self.requests
            if request.step is not None and step in (request.step, _bare(request.step))
        )

    async def check(self, *, detailed: bool = False) -> ProviderStatus:
        """Always well; uses up no answer."""
        return ProviderStatus(ok=True, latency=0.0, detail="scripted")

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """The script's next answer for the request's step.

        Raises:
            ScriptError: The script has no answer, or no further answer, for the step.
        """
        self.requests.append(request)
        answer, chunks = await self._settled(request)
        if (error := _error(answer)) is not None:
            await _stream(chunks or (), on_delta)
            raise error
        response = answer if isinstance(answer, ProviderResponse) else _response(answer, request)
        if chunks is not None and "".join(chunks) != response.text:
            raise ScriptError(
                f"The chunks scripted for step {request.step!r} make {''.join(chunks)!r}, "
                f"but its answer is {response.text!r}; write pieces that join to the answer",
                step=request.step,
            )
        await _stream(_WORDS.findall(response.text) if chunks is None else chunks, on_delta)
        return response

    async def _settled(self, request: ProviderRequest) -> tuple[object, Sequence[str] | None]:
        """The answer itself, its delays waited out and its functions called, and the pieces it comes in."""
        answer: object = self._next(request.step)
        chunks: Sequence[str] | None = None
        await sleep(0)  # a provider never answers without giving other tasks a turn
        while True:
            if isinstance(answer, Reply):
                chunks = chunks if answer.chunks is None else answer.chunks
                if answer.delay > 0:
                    await sleep(answer.delay)
                answer = answer.answer
            elif callable(answer) and not isinstance(answer, type):
                answer = answer(request)
                if inspect.isawaitable(answer):
                    answer = await answer
            else:
                return answer, chunks

    def _next(self, step: str | None) -> object:
        known = [] if step is None else [step, _bare(step)]
        key = next((key for key in [*known, "*"] if key in self._script), None)
        if key is None:
            keys = ", ".join(repr(name) for name in self._script) or "nothing"
            raise ScriptError(
                f"{self._name!r} has no answer for step {step!r}; its script knows {keys}. "
                "Add the step, or '*' for any",
                step=step,
            )
        given = self._script[key]
        if not isinstance(given, list):
            return given
        answers = cast("list[object]", given)
        place = None if step is None else _TURN.sub("", step)
        used = self._used.get((key, place), 0)
        if used >= len(answers):
            raise ScriptError(
                f"Step {step!r} asked once more, but the {len(answers)} answer(s) that {self._name!r} has under "
                f"{key!r} are used up; script one more, or find out why it asks",
                step=step,
            )
        self._used[key, place] = used + 1
        return answers[used]


def _bare(step: str) -> str:
    return _INDEX.sub("", step.rpartition("/")[2])


def _error(answer: object) -> BaseException | None:
    if isinstance(answer, type) and issubclass(answer, BaseException):
        return answer()
    return answer if isinstance(answer, BaseException) else None


async def _stream(pieces: Sequence[str], on_delta: OnDelta | None) -> None:
    if on_delta is None:
        return
    for piece in pieces:
        on_delta(piece)
        await sleep(0)


def _response(answer: object, request: ProviderRequest) -> ProviderResponse:
    text = _text(answer, request)
    asked = sum(len(message.text) for message in request.messages)
    usage = Usage(input_tokens=-(-asked // 4), output_tokens=-(-len(text) // 4), requests=1)
    return ProviderResponse(text, usage=usage, model=request.model)


def _text(answer: object, request: ProviderRequest) -> str:
    schema = request.output_schema or {}
    inner = _wrapped(schema)
    if isinstance(answer, str):
        return answer if inner is None else _wrap_text(answer, inner, schema)
    data = to_data(answer, where=f"the scripted answer of step {request.step!r}")
    return _dumps(data if inner is None or _is_wrapper(data) else {"value": data})


def _wrapped(schema: Mapping[str, Data]) -> Mapping[str, Data] | None:
    """The schema of the bare value when this is the object that wraps one; a model with a title is its own object."""
    properties: Mapping[str, Data] = schema.get("properties") or {}
    if "title" in schema or list(properties) != ["value"]:
        return None
    value: Mapping[str, Data] = properties["value"]
    return value


def _wrap_text(text: str, inner: Mapping[str, Data], whole: Mapping[str, Data]) -> str:
    try:
        parsed = json.loads(text)
    except ValueError:
        return _dumps({"value": text}) if _takes_text(inner, whole) else text
    if _is_wrapper(parsed):
        return text
    return _dumps({"value": text if _takes_text(inner, whole) else parsed})


def _is_wrapper(data: Data) -> bool:
    return isinstance(data, dict) and data.keys() == {"value"}


def _takes_text(schema: Mapping[str, Data], whole: Mapping[str, Data]) -> bool:
    reference: str = schema.get("$ref", "")
    if reference:
        return _takes_text(whole.get("$defs", {}).get(reference.rpartition("/")[2], {}), whole)
    several: Sequence[Mapping[str, Data]] = schema.get("anyOf") or schema.get("oneOf") or ()
    if several:
        return any(_takes_text(one, whole) for one in several)
    if "enum" in schema or "const" in schema:
        return any(isinstance(value, str) for value in schema.get("enum", [schema.get("const")]))
    kinds: str | Sequence[str] = schema.get("type", "string")
    return "string" in kinds


def _dumps(data: Data) -> str:
    return json.dumps(data, ensure_ascii=False)
