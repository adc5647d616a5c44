"""The answers of one stream of generateContent, put together; a whole answer is a stream of one.

Source: https://ai.google.dev/api/generate-content#Candidate, .../caching#Part and .../generate-content#UsageMetadata
(2026-10).
"""

from __future__ import annotations

import json
from typing import Any

from .. import _json
from ..errors import AuthenticationFailed, BadAnswer, BadRequest, ContentRefused, ProviderError
from ..models.message import ToolCall
from ..models.usage import Usage
from ..requests import ProviderResponse
from ._classify import Origin, shorten
from ._gemini_contents import REPLAY
from ._loose_json import count_of, is_list, is_object, mended, written

__all__ = ["Collected"]

_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length"}
_REFUSED = frozenset(
    """
    SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION
    MODEL_ARMOR ESCALATION
    """.split()  # noqa: SIM905
)
_BROKEN = frozenset(("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"))
_FAILED: dict[str, tuple[type[ProviderError], str]] = {
    "MISSING_THOUGHT_SIGNATURE": (BadRequest, "give the assistant's messages back with their `vendor`"),
    "PUP_LIMITED_DISABLED": (AuthenticationFailed, "the account is limited for breach of policy; use another key"),
}
_KEPT = ("thought", "thoughtSignature", "text", "functionCall")


class Collected:
    """What has come of an answer.

    Attributes:
        text: The pieces of the answer's text, without thoughts, as they came.
        usage: The last usage told; None when there was none, or none worth believing.
        has_begun: A candidate or a verdict on the prompt has come.
        is_complete: The answer has ended; nothing more of it counts but its usage.
        is_over: It has ended and told its usage.
    """

    def __init__(self, origin: Origin) -> None:
        self.text: list[str] = []
        self.usage: Usage | None = None
        self.has_begun = False
        self.is_complete = False
        self.is_over = False
        self._origin = origin
        self._calls: list[dict[str, Any]] = []
        self._parts: list[dict[str, Any] | list[str]] = []
        self._reason = ""
        self._message = ""
        self._blocked = ""
        self._ratings: list[str] = []
        self._told: dict[str, str] = {}

    def take(self, chunk: dict[str, Any]) -> bool:
        """Take the next answer of the stream; true when it brought content."""
        if self.is_complete:
            self._count_usage(chunk)
            return False
        for name in ("responseId", "modelVersion"):
            if isinstance(chunk.get(name), str) and chunk[name]:
                self._told.setdefault(name, mended(chunk[name]))
        self._verdict(chunk.get("promptFeedback"))
        candidate = _first(chunk.get("candidates"))
        moved = self._candidate(candidate) if candidate is not None and not self.is_complete else False
        self._count_usage(chunk)
        return moved

    def _count_usage(self, chunk: dict[str, Any]) -> None:
        """Take the usage, which each answer of a stream tells anew: only the last one is whole."""
        told = chunk.get("usageMetadata")
        if is_object(told):
            self.usage = _usage(told)
            self.is_over = self.is_complete

    def _candidate(self, candidate: dict[str, Any]) -> bool:
        self.has_begun = True
        content = candidate.get("content")
        parts = content.get("parts") if is_object(content) else None
        moved = [self._part(part) for part in parts if is_object(part)] if is_list(parts) else []
        self._end(candidate)
        return any(moved)

    def _verdict(self, feedback: Any) -> None:  # Any: whatever JSON a server sent
        if not is_object(feedback) or not feedback.get("blockReason"):
            return
        self.has_begun = self.is_complete = True
        self._blocked = mended(str(feedback["blockReason"]))
        self._note(feedback.get("blockReasonMessage"), feedback.get("safetyRatings"))

    def _end(self, candidate: dict[str, Any]) -> None:
        token = candidate.get("continuationToken")
        if isinstance(token, str):
            self._told["continuationToken"] = mended(token)
        reason = candidate.get("finishReason")
        if not reason or reason == "FINISH_REASON_UNSPECIFIED":
            return
        self.is_complete = True
        self._reason = mended(str(reason))
        self._note(candidate.get("finishMessage"), candidate.get("safetyRatings"))

    def _note(self, message: Any, ratings: Any) -> None:  # Any: as above
        self._message = mended(message) if isinstance(message, str) else ""
        for rating in ratings if is_list(ratings) else []:
            if is_object(rating) and rating.get("blocked") is True:
                self._ratings.append(mended(str(rating.get("category"))).removeprefix("HARM_CATEGORY_").lower())

    def _part(self, part: dict[str, Any]) -> bool:
        """Take one part; true when it is content: thoughts are, too."""
        text = part.get("text")
        is_signed = isinstance(part.get("thoughtSignature"), str)
        call = part.get("functionCall")
        if is_object(call) and isinstance(call.get("name"), str) and call["name"]:
            self._calls.append(call)
            self._parts.append(part)
        elif not isinstance(text, str):
            return bool(part)
        elif is_signed:
            self._parts.append(part)
        elif part.get("thought") is not True and self._parts and isinstance(self._parts[-1], list):
            self._parts[-1].append(text)
        elif part.get("thought") is not True:
            self._parts.append([text])
        if text and isinstance(text, str) and part.get("thought") is not True:
            self.text.append(text)
        return is_object(call) or bool(text) or is_signed

    def answer(self) -> ProviderResponse:
        """The answer.

        Raises:
            ContentRefused: The prompt was blocked, or the answer withheld.
            BadAnswer: The model wrote a call that Gemini itself cannot read.
            ProviderError: It ended for another reason that is no answer.
        """
        text = mended("".join(self.text))
        if self._blocked or self._reason in _REFUSED:
            raise self._refusal(text)
        if self._reason in _FAILED:
            kind, advice = _FAILED[self._reason]
            raise kind(f"{self._ended()}; {advice}", **self._names())
        if self._reason in _BROKEN and not self._calls:
            raise BadAnswer(f"{self._ended()}; try again, or make the tools simpler", **self._names())
        calls = self._tool_calls()
        raw: dict[str, Any] = {"finish_reason": self._reason or None}
        for name, key in (("responseId", "id"), ("continuationToken", "continuation_token")):
            if name in self._told:
                raw[key] = self._told[name]
        kept = self._replay() if calls else []
        if any("thoughtSignature" in part for part in kept):
            raw["replay"] = {REPLAY: {"parts": kept}}
        told = _REASONS.get(self._reason, "other")
        return ProviderResponse(
            text=text,
            tool_calls=calls,
            usage=self.usage,
            finish_reason="tool_calls" if calls and told in ("stop", "other") else told,
            model=self._told.get("modelVersion", self._origin.model),
            raw=raw,
        )

    def _refusal(self, text: str) -> ContentRefused:
        what = "the prompt" if self._blocked else "to answer"
        why = ", ".join([self._blocked or self._reason, *dict.fromkeys(self._ratings)])
        said = text or self._message
        told = f": {shorten(said)}" if said else ""
        return ContentRefused(
            f"{self._origin.provider} model {self._origin.model!r} refused {what} ({why}){told}; change the prompt or "
            "add a fallback",
            text=said,
            **self._names(),
        )

    def _ended(self) -> str:
        told = f": {shorten(self._message)}" if self._message else ""
        return f"{self._origin.provider} model {self._origin.model!r} ended its answer with {self._reason}{told}"

    def _names(self) -> dict[str, Any]:
        return {"provider": self._origin.provider, "model": self._origin.model, "status": 200}

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        made: list[ToolCall] = []
        for index, call in enumerate(self._calls):
            name, args = mended(call["name"]), call.get("args")
            arguments = mended(written({} if args is None else args))
            given = call.get("id")
            if not isinstance(given, str) or not given:  # the same answer must give the same id each time it is read
                given = f"call_{_json.sha256([self._told.get('responseId'), index, name, arguments])[:16]}"
            made.append(ToolCall(mended(given), name, arguments))
        return tuple(made)

    def _replay(self) -> list[dict[str, Any]]:
        """The parts as Gemini wants them back: as they came, without unsigned thoughts, unsigned text joined."""
        parts = [{"text": "".join(part)} if isinstance(part, list) else part for part in self._parts]
        return [_as_data({name: part[name] for name in _KEPT if name in part}) for part in parts]


def _as_data(part: dict[str, Any]) -> dict[str, Any]:
    """The same without what is no data: lone halves of characters, and numbers that are none."""
    text = mended(json.dumps(part, ensure_ascii=False))
    made: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return made


def _first(candidates: Any) -> dict[str, Any] | None:  # Any: whatever JSON a server sent
    """The first candidate, whatever else `candidateCount` brings."""
    for candidate in candidates if is_list(candidates) else []:
        if is_object(candidate) and not candidate.get("index"):
            return candidate
    return None


def _usage(given: dict[str, Any]) -> Usage | None:
    """The tokens of one call; thoughts are counted beside the candidates, and are part of what is written."""
    read = count_of(given.get("promptTokenCount"))
    shown = count_of(given.get("candidatesTokenCount"))
    thoughts = count_of(given.get("thoughtsTokenCount"))
    if given.get("candidatesTokenCount") is None and (thoughts is not None or "totalTokenCount" in given):
        shown = 0  # protobuf leaves out what is zero
    if read is None or shown is None:
        return None
    read += count_of(given.get("toolUsePromptTokenCount")) or 0
    cached = count_of(given.get("cachedContentTokenCount")) or 0
    return Usage(
        read,
        shown + (thoughts or 0),
        cached_tokens=cached if cached <= read else 0,
        reasoning_tokens=thoughts or 0,
        requests=1,
    )
