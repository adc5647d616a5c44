"""What others have left for a run's owner, taken up into its log."""

from __future__ import annotations

import logging

from ..event_late import late_events
from ..events import CallFinished, StepSucceeded
from ..ports import InboxItem, RunStore
from .executor import Executor
from .journal import Journal
from .state.step import StepState

__all__ = ["Inbox"]

_log = logging.getLogger("llmorch")


class Inbox:
    """Reads the inbox of one run and acts on it.

    Attributes:
        former: Path -> fingerprint that the step had when its owner lost the run; a late answer to anything else is
            only paid for.
        ended: Wishes to cancel that were left under this epoch or an earlier one came too late: the run had ended.
    """

    __slots__ = ("_executor", "_journal", "_seen", "_store", "ended", "former")

    def __init__(self, store: RunStore, journal: Journal, executor: Executor) -> None:
        self._store = store
        self._journal = journal
        self._executor = executor
        self._seen: set[tuple[str, str, int]] = set()
        self.former: dict[str, str | None] = {}
        self.ended = 0

    async def take_up(self) -> None:
        """Act on what has come since the last time; the items are deleted together with the next commit."""
        journal = self._journal
        for item in await self._store.inbox(journal.claim.run_id):
            key = (item.kind, item.step, item.call)
            if journal.closed or journal.state.finished_us is not None or self._executor.is_resting:
                return
            if key not in self._seen:
                self._seen.add(key)
                self._take(item)

    def _take(self, item: InboxItem) -> None:
        match item.kind:
            case "cancel":
                self._journal.consume(item)
                if not self.ended or item.call > self.ended:  # it names the epoch it was left under
                    self._executor.cancel()
            case "wake":
                self._journal.consume(item)
            case "late":
                self._late(item)
            case "answer":
                self._answer(item)
            case _:
                pass  # stays for an owner that knows what it is

    def _answer(self, item: InboxItem) -> None:
        """What a person said to the question that was asked at the seq which the item names."""
        self._journal.consume(item)
        state = self._journal.state.steps.get(item.step)
        if state is None or state.status != "waiting" or state.question is None or state.question.seq != item.call:
            return  # the question is open no more
        self._executor.answered(state, item.data, item.by)

    def _late(self, item: InboxItem) -> None:
        """An answer for which the former owner had paid: its bill counts, and it is the result if there is none."""
        try:
            events = late_events(item)
            step = self._journal.state.steps[item.step]
            ends = [event for event in events if isinstance(event, CallFinished) and _is_unbilled(step, event)]
        except (ValueError, LookupError) as error:
            _log.warning("run %s: a late answer cannot be read: %s", self._journal.claim.run_id, error)
            self._journal.consume(item)
            return
        for event in ends:  # at once: the step may never be due, and was paid for all the same
            self._journal.append(event)
        success = next((event for event in events if isinstance(event, StepSucceeded)), None)
        if success is None or step.finished_us is not None or not self._offered(step, item, success):
            self._journal.consume(item)

    def _offered(self, step: StepState, item: InboxItem, success: StepSucceeded) -> bool:
        """Whether the answer waits to be taken, if the step asks the same again."""
        mark = self.former.get(step.path)
        if None not in (mark, step.fingerprint) and mark != step.fingerprint:
            return False
        return self._executor.offer(step, item, [success], mark=mark)


def _is_unbilled(step: StepState, event: CallFinished) -> bool:
    """Whether the log does not know yet how this call ended.

    Raises:
        IndexError: The log knows no such call.
    """
    record = step.calls[event.call - 1]
    return record.is_lost or record.finished is None
