"""Every error llmorch raises, as one tree.

```text
LLMOrchError
├── WorkflowInvalid            a workflow that cannot run; .faults has every fault found
├── RunFailed                  run.output of a failed run; the cause is chained
├── RunNotFinished             run.output of a run that has not ended
├── RunNotFound                no run has that id
├── RunPoisoned                a run whose owners keep dying
├── StepError                  a step raised something that is no llmorch error; the cause is chained
├── StepNotRun                 run[step] of a step that has no value
├── CodeMissing                a recorded function or type is not at hand
├── InputInvalid               an input of a run is missing, unknown or of the wrong type
├── TemplateError              a template that cannot be read or rendered
├── TimedOut                   a call, step or run took longer than it may
├── BudgetExceeded             the next call does not fit the budget
├── OutputInvalid              an answer that does not satisfy the declared output type
├── EmptyResponse              an answer without text
├── ToolError                  a tool's failure that the model may read
├── ValueRefused               a value that is not data (NaN, bytes, an arbitrary object)
├── MissingExtra               an optional dependency is not installed
├── MissingCredential          a provider's key is not set
├── WrongLoop                  an object bound to one event loop was used on another
├── DocumentNotFound           no document of a library, or no version of it, fits
├── DocumentInUse              a document to be deleted that others were made of; .users
├── DocumentInvalid            a document, or a text of documents, that cannot be read; .faults
├── ProviderError
│   ├── AuthenticationFailed   401, 403: the key is wrong or may not do this
│   ├── RateLimited            429; .retry_after in seconds
│   ├── ContextTooLong         413, or an answer that says so
│   ├── ContentRefused         the model or its guard declined; .text
│   ├── ProviderUnavailable    no connection, reset, 5xx
│   ├── StreamTruncated        a stream that ended before its terminal event
│   ├── BadAnswer              an answer that is not in the vendor's format
│   └── BadRequest             any other 4xx: the request will never succeed as it is
├── StoreError
│   ├── StoreBusy
│   ├── StoreFull
│   ├── StoreCorrupt
│   ├── ClaimLost              another process owns this run now
│   ├── IdempotencyConflict    the key was used before with something else
│   └── DocumentConflict       a document has that name, or a newer version
├── AlreadyAnswered
├── NoSuchQuestion
└── AnswerInvalid
```

Each message says what happened, to which thing, and what to do next. Ids are attributes. No message holds a secret.
Every error can be made from its message alone, because a stored error is rebuilt from its type name, text and cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "AlreadyAnswered",
    "AnswerInvalid",
    "AuthenticationFailed",
    "BadAnswer",
    "BadRequest",
    "BudgetExceeded",
    "ClaimLost",
    "CodeMissing",
    "ContentRefused",
    "ContextTooLong",
    "DocumentConflict",
    "DocumentInUse",
    "DocumentInvalid",
    "DocumentNotFound",
    "EmptyResponse",
    "IdempotencyConflict",
    "InputInvalid",
    "LLMOrchError",
    "MissingCredential",
    "MissingExtra",
    "NoSuchQuestion",
    "OutputInvalid",
    "ProviderError",
    "ProviderUnavailable",
    "RateLimited",
    "RunFailed",
    "RunNotFinished",
    "RunNotFound",
    "RunPoisoned",
    "StepError",
    "StepNotRun",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StreamTruncated",
    "TemplateError",
    "TimedOut",
    "ToolError",
    "ValueRefused",
    "WorkflowInvalid",
    "WrongLoop",
]


class LLMOrchError(Exception):
    """The root of every error llmorch raises.

    Attributes:
        step: Path of the step it happened in, where there is one.
        run_id: Id of the run it happened in, where there is one.
    """

    def __init__(self, message: str = "", *, step: str | None = None, run_id: str | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.run_id = run_id

    @property
    def message(self) -> str:
        """The text without the type name."""
        return str(self.args[0]) if self.args else ""


class WorkflowInvalid(LLMOrchError):
    """A workflow that cannot run; nothing was sent.

    Attributes:
        faults: Every fault found, one sentence each.
        workflow: The workflow's name.
    """

    def __init__(self, message: str = "", *, faults: Iterable[str] = (), workflow: str = "") -> None:
        self.faults: tuple[str, ...] = tuple(faults) or ((message,) if message else ())
        self.workflow = workflow
        super().__init__(message or self._text())

    def _text(self) -> str:
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        return f"Workflow {self.workflow!r} has {count}; nothing was sent:{lines}"


class RunFailed(LLMOrchError):
    """The output was asked of a run that failed or was cancelled; the step's error is chained as the cause."""


class RunNotFinished(LLMOrchError):
    """The output was asked of a run that has not ended yet."""


class RunNotFound(LLMOrchError):
    """No run of the store has that id."""


class RunPoisoned(LLMOrchError):
    """A run was given up because its owners died again and again while running it."""


class StepError(LLMOrchError):
    """A step raised something that is no llmorch error; it is chained as the cause."""


class StepNotRun(LLMOrchError):
    """The value of a step was asked that has none (skipped, failed, cancelled or never started)."""


class CodeMissing(LLMOrchError):
    """A function or type that a recorded definition names is not registered in this process."""


class InputInvalid(LLMOrchError):
    """An input of a run is missing, unknown, given twice or of the wrong type; nothing was started."""


class TemplateError(LLMOrchError):
    """A template or expression that cannot be read or rendered.

    Attributes:
        line: Line in the template, from 1, where it is known.
    """

    def __init__(self, message: str = "", *, line: int | None = None, step: str | None = None) -> None:
        super().__init__(message, step=step)
        self.line = line


class TimedOut(LLMOrchError):
    """A call, a step or a run took longer than it may, or a stream stalled."""


class BudgetExceeded(LLMOrchError):
    """The next call does not fit what is left of the budget; it was not sent."""


class OutputInvalid(LLMOrchError):
    """The model's answer does not satisfy the declared output type.

    Attributes:
        text: The raw answer.
    """

    def __init__(self, message: str = "", *, text: str = "", step: str | None = None) -> None:
        super().__init__(message, step=step)
        self.text = text


class EmptyResponse(LLMOrchError):
    """The model answered without any text."""


class ToolError(LLMOrchError):
    """Raised by a tool to tell the model, not the program, what went wrong."""


class ValueRefused(LLMOrchError):
    """A value that cannot be recorded as data, such as NaN, bytes or an arbitrary object."""


class MissingExtra(LLMOrchError):
    """An optional dependency is not installed; the message has the pip line."""


class MissingCredential(LLMOrchError):
    """A provider's key is not set; the message names the variable to set."""


class WrongLoop(LLMOrchError):
    """An object that is bound to one event loop was used on another."""


class ProviderError(LLMOrchError):
    """A provider could not, or would not, answer a call.

    Attributes:
        provider: Name of the provider.
        model: The model asked for, without the provider's name.
        status: HTTP status of the answer, where there was one.
        retry_after: Seconds to wait before the next try, where the provider said.
        first: The first error of the call when it was retried, else None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        step: str | None = None,
    ) -> None:
        super().__init__(message, step=step)
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after: float | None = None
        self.first: BaseException | None = None


class AuthenticationFailed(ProviderError):
    """The provider rejected the key, or the key may not do this (401, 403)."""


class RateLimited(ProviderError):
    """The provider asked to come back later (429).

    Attributes:
        spend_limit: True when money or quota ran out, which waiting does not mend.
    """

    def __init__(
        self,
        message: str = "",
        *,
        retry_after: float | None = None,
        spend_limit: bool = False,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        step: str | None = None,
    ) -> None:
        super().__init__(message, provider=provider, model=model, status=status, step=step)
        self.retry_after = retry_after
        self.spend_limit = spend_limit


class ContextTooLong(ProviderError):
    """The prompt does not fit the model's context (413, or a 400 that says so)."""


class ContentRefused(ProviderError):
    """The model or its safety system declined to answer.

    Attributes:
        text: What it said instead.
    """

    def __init__(
        self,
        message: str = "",
        *,
        text: str = "",
        provider: str = "",
        model: str = "",
        status: int | None = None,
        step: str | None = None,
    ) -> None:
        super().__init__(message, provider=provider, model=model, status=status, step=step)
        self.text = text


class ProviderUnavailable(ProviderError):
    """No connection, a connection that broke, or a 5xx answer."""


class StreamTruncated(ProviderError):
    """A stream ended before its terminal event."""


class BadAnswer(ProviderError):
    """The answer is not in the vendor's format."""


class BadRequest(ProviderError):
    """The provider refuses the request as it is (a 4xx that waiting does not mend)."""


class StoreError(LLMOrchError):
    """The store could not do what was asked."""


class StoreBusy(StoreError):
    """The store stayed locked for too long."""


class StoreFull(StoreError):
    """There is no room left where the store writes."""


class StoreCorrupt(StoreError):
    """What the store holds fails its checks; nothing was changed."""


class ClaimLost(StoreError):
    """Another process owns the run now; this one may not write to its log."""


class IdempotencyConflict(StoreError):
    """The idempotency key was used before with another workflow or other inputs."""


class AlreadyAnswered(LLMOrchError):
    """The question has its answer already."""


class NoSuchQuestion(LLMOrchError):
    """No open question of the run has that name."""


class AnswerInvalid(LLMOrchError):
    """The answer does not fit the question's type; the question stays open."""


class DocumentConflict(StoreError):
    """Another document has that name, or somebody else put a version meanwhile; nothing was written.

    Attributes:
        version: The version that is there now; None when none is.
    """

    def __init__(self, message: str = "", *, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version


class DocumentNotFound(LLMOrchError):
    """No document of that kind and name, or no version of it, is there."""

    def __init__(self, message: str = "", *, kind: str = "", name: str = "") -> None:
        super().__init__(message)
        self.kind, self.name = kind, name


class DocumentInUse(LLMOrchError):
    """A document that others (`users`) were made of was to be deleted; nothing was written."""

    def __init__(self, message: str = "", *, users: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.users = tuple(users)  # Documents, which stand on a higher floor


class DocumentInvalid(LLMOrchError):
    """A document, or a text of documents, that cannot be read (every fault in `faults`); nothing was written."""

    def __init__(self, message: str = "", *, faults: Iterable[str] = ()) -> None:
        self.faults: tuple[str, ...] = tuple(faults) or ((message,) if message else ())
        super().__init__(message or "\n  - ".join(["The documents cannot be read:", *self.faults]))
