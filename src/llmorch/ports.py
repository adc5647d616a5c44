"""What plugins implement: providers, stores, hooks, sources of credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from .documents import Document, Library, Use
from .events import Event
from .models.message import Message, ToolCall
from .models.secret import Secret
from .models.settings import Settings
from .models.usage import Usage
from .models.values import Data
from .requests import Allowance, Call, Capabilities, ProviderRequest, ProviderResponse, ProviderStatus, ToolSpec

__all__ = [
    "Allowance",
    "AppendReply",
    "Call",
    "Capabilities",
    "Claim",
    "CredentialSource",
    "Document",
    "Hook",
    "InboxItem",
    "Library",
    "Message",
    "OnDelta",
    "Proceed",
    "Provider",
    "ProviderRequest",
    "ProviderResponse",
    "ProviderStatus",
    "ResponseCache",
    "Revised",
    "RunRow",
    "RunStore",
    "Secret",
    "Settings",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "Use",
]

OnDelta = Callable[[str], None]
Proceed = Callable[[Call], Awaitable[ProviderResponse]]


@runtime_checkable
class Provider(Protocol):
    """Speaks one vendor's API.

    Required are `name`, `capabilities` and `complete`. `models() -> Sequence[str]`, `check(*, detailed=False) ->
    ProviderStatus` and `aclose()` may be left out: they then give `[]`, a one-token call, and nothing. A provider that
    bounds each call by `request.timeout` (unset: 600 s) itself says `keeps_time = True`; else the engine does.
    """

    @property
    def name(self) -> str:
        """The part of a model id before the colon."""
        ...

    def capabilities(self, model: str) -> Capabilities:
        """What the model can do; asked while planning, so it sends nothing."""
        ...

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        """Send one request and give its whole answer.

        Args:
            on_delta: Called with each piece of answer text as it comes; given only when somebody watches.

        Raises:
            ProviderError: The classes of the error tree.
            TimedOut: The call took too long or the stream stalled.
        """
        ...


class Hook(Protocol):
    """Sees every committed event and may wrap every provider call; either method may be left out."""

    async def on_event(self, event: Event) -> None:
        """Observe; an exception is logged and never fails a run."""
        ...

    async def around_call(self, call: Call, proceed: Proceed) -> ProviderResponse:
        """Answer the call, usually with `await proceed(call)`; raising vetoes it."""
        ...


class CredentialSource(Protocol):
    """Where keys come from."""

    def get(self, name: str) -> Secret:
        """The secret of that name.

        Raises:
            MissingCredential: There is none.
        """
        ...


class ResponseCache(Protocol):
    """Keeps answers of models by what they were asked."""

    async def get(self, key: str) -> bytes | None:
        """The entry of that key, or None when there is none or its time is over."""
        ...

    async def put(self, key: str, entry: bytes, *, ttl_s: float | None = None) -> None:
        """Keep an entry for so many seconds; None is for good. An entry of the same key is replaced."""
        ...


@dataclass(frozen=True, slots=True)
class InboxItem:
    """What somebody who does not own a run leaves for its owner; the first of a (kind, step, call) wins.

    Attributes:
        kind: `answer`, `cancel`, `late` (an answer that came after the claim was lost) or `wake`.
        step: Path of the step it is for; empty for the run.
        call: Number of the call it is for; 0 for none.
        data: JSON data.
        at: When it was left, in microseconds UTC.
        by: Who left it.
    """

    kind: str
    step: str = ""
    call: int = 0
    data: Data = None
    at: int = 0
    by: str | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a store lists it; times are microseconds UTC.

    Attributes:
        owner: Who carries it out; None when nobody does, also when who did has died.
        lease_until: Until when the owner's claim holds without being renewed; None where a lock says whether it lives.
        totals: What it had used when it last ended, as `event_totals.totals_of` gives it; empty before, and of a store
            that does not keep it.
        wake_at: When a waiting run wants to go on by itself.
        recoveries: How often it was taken from a dead owner since it last recorded a step.
    """

    id: str
    workflow: str
    status: str
    epoch: int
    owner: str | None
    last_seq: int
    created_at: int
    finished_at: int | None = None
    idempotency_key: str | None = None
    definition_sha: str = ""
    inputs_sha: str = ""
    tags: tuple[str, ...] = ()
    totals: Mapping[str, Data] = field(default_factory=dict[str, Any])
    lease_until: int | None = None
    wake_at: int | None = None
    recoveries: int = 0


@dataclass(slots=True)
class Claim:
    """The right to append to a run's log; `epoch` guards every write. Its holder moves `last_seq` on."""

    run_id: str
    epoch: int
    last_seq: int


@dataclass(slots=True)
class AppendReply:
    """What a commit answers: the last seq committed, and whether others left something in the inbox."""

    last_seq: int
    inbox: bool = False


class RunStore(Protocol):
    """Keeps runs and their logs. One owner appends; anybody reads.

    Every method is atomic. A unit given to `append` is committed whole or not at all.
    """

    async def create(self, row: RunRow, first: Sequence[Event], *, definition: Mapping[str, Data] | None) -> RunRow:
        """Put a new run and the first events of its log.

        Returns:
            The row as stored; the existing run's row when the idempotency key was used before with the same workflow
            and inputs. Its id tells which.

        Raises:
            IdempotencyConflict: The key was used before with something else.
        """
        ...

    async def append(
        self,
        claim: Claim,
        events: Sequence[Event],
        *,
        status: str | None = None,
        consumed: Sequence[InboxItem] = (),
        wake_at: int | None = None,
    ) -> AppendReply:
        """Commit one unit of events that follow the log's last seq without a gap.

        Args:
            status: The run's status from here on, where the events change it. One that ends the run sets `finished_at`
                and `totals` and frees the owner; any clears `wake_at`, unless it is given.
            consumed: Inbox items that the events take up; they are deleted in the same transaction.
            wake_at: When the run wants to go on by itself, in microseconds UTC; given together with `status`.

        Raises:
            ClaimLost: The epoch or the last seq is not what the claim says; nothing was written to the log. Where the
                epoch is another, ends of calls with the success of their step are kept in the inbox as `late`.
        """
        ...

    async def load(self, run_id: str) -> RunRow:
        """The run's row.

        Raises:
            RunNotFound: There is none.
        """
        ...

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """Committed events with `seq > after`, in order, at most `limit`.

        Raises:
            RunNotFound: There is no such run.
        """
        ...

    async def list_runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: int | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Sequence[RunRow]:
        """Rows, newest first; `since` in microseconds UTC, `before` is a run id to go on from."""
        ...

    async def delete_run(self, run_id: str) -> None:
        """Forget the run and its log.

        Raises:
            RunNotFound: There is no such run.
        """
        ...

    async def claim(self, run_id: str, owner: str, *, takeover: bool = False) -> Claim:
        """Become the run's owner; the epoch grows by one.

        Args:
            takeover: Also from an owner that seems to live, such as a process that was stopped.

        Raises:
            ClaimLost: A living owner has it; the text names it.
            RunNotFound: There is no such run.
        """
        ...

    async def renew(self, claim: Claim) -> None:
        """Say that the owner lives.

        Raises:
            ClaimLost: It was taken.
        """
        ...

    async def release(self, claim: Claim, *, status: str) -> bool:
        """Give the run up in this status, so that another may claim it; False when its inbox is not empty.

        Then nothing changed, and the owner goes on with what it finds there. Releasing a claim that was lost is
        harmless.
        """
        ...

    async def post(self, run_id: str, item: InboxItem) -> None:
        """Leave something for the run's owner.

        Raises:
            AlreadyAnswered: There is one of that kind, step and call, or there was and it was taken up.
            RunNotFound: There is no such run.
        """
        ...

    async def inbox(self, run_id: str) -> Sequence[InboxItem]:
        """What waits for the run's owner, oldest first."""
        ...

    async def definition(self, sha: str) -> Mapping[str, Data] | None:
        """The definition that `create` was given with a row of that `definition_sha`; None when nobody gave it."""
        ...

    async def recoverable(self, *, now: int, limit: int = 100) -> Sequence[RunRow]:
        """Runs that wait for somebody to carry them out, oldest first.

        They are running without a living owner, or waiting with something in their inbox or a `wake_at` that passed.

        Args:
            now: Microseconds UTC; a store that has a clock of its own goes by that.
        """
        ...

    async def aclose(self) -> None:
        """Let go of everything."""
        ...


class Revised(Protocol):
    """What a store that several processes use may have besides, so that they notice each other at little cost."""

    async def revision(self) -> int:
        """A number that differs from the last one when anything was committed since, by whatever process."""
        ...

    async def changed(self, since: int, *, timeout_s: float) -> None:
        """Return as soon as it was heard that the revision is another, or after so many seconds; a hint.

        Only for a store that is told of commits; for others `revision()` is asked every 50 ms.
        """
        ...
