"""Whether what a case left keeps the promises: nothing lost, nothing changed, nothing repeated, nothing stuck."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from tests.durability.kill_child import Outcome
from tests.durability.kill_fixtures import Fixture
from tests.durability.kill_ledger import Entry
from tests.durability.kill_left import Left, Row

__all__ = ["Answer", "Baseline", "Fault", "Judge", "Log", "Note"]

_UNKNOWN = ("TimedOut", "StreamTruncated")
_ENDS = ("StepSucceeded", "StepFailed", "StepSkipped", "StepCancelled")
Note = tuple[int, str, str]
"""Life, what ran, step."""
Answer = tuple[str, int, str, Any]
"""Step, seq of the question, who answered, the answer; each was accepted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken promise.

    Attributes:
        kind: `lost`: a record or an acknowledged run is missing, or its start was never recorded; `changed`: a
            record or a result is another; `repeated`: something was done or paid for again; `stuck`: the next one
            cannot go on.
    """

    kind: Literal["lost", "changed", "repeated", "stuck"]
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class Log:
    """The events of a run, as rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)

    @cached_property
    def events(self) -> list[tuple[str, str, int, Any]]:
        """Kind, step, call and own fields."""
        return [(kind, step, call, json.loads(data)) for _, kind, step, call, _, data, _ in self.rows]

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return bool(self.rows) and self.rows[-1][1] == "RunFinished"

    @property
    def is_waiting(self) -> bool:
        """Whether nothing goes on before somebody answers."""
        return bool(self.rows) and self.rows[-1][1] == "RunWaiting"

    def of(self, *kinds: str) -> list[tuple[str, str, int, Any]]:
        """The events of some kinds."""
        return [event for event in self.events if event[0] in kinds]

    def count(self, kind: str) -> Counter[str]:
        """Step -> how many events of that kind it has."""
        return Counter(step for _, step, _, _ in self.of(kind))

    @cached_property
    def open_calls(self) -> set[tuple[str, int]]:
        """Requests that were started and have no end."""
        ended = {(step, call) for _, step, call, _ in self.of("CallFinished")}
        return {(step, call) for _, step, call, _ in self.of("CallStarted")} - ended

    @cached_property
    def open_steps(self) -> set[str]:
        """Steps that were started and have no end after that."""
        found: set[str] = set()
        for kind, step, _, _ in self.events:
            if kind == "StepStarted":
                found.add(step)
            elif kind in _ENDS:
                found.discard(step)
        return found

    @cached_property
    def open_tools(self) -> set[tuple[str, int, str]]:
        """Uses of tools that were started and have no end after that."""
        found: set[tuple[str, int, str]] = set()
        for kind, step, call, own in self.of("ToolStarted", "ToolFinished"):
            (found.add if kind == "ToolStarted" else found.discard)((step, call, own["id"]))
        return found

    @cached_property
    def answered(self) -> dict[tuple[str, int], list[tuple[str, Any]]]:
        """Step and seq of a question -> who answered it, and what."""
        asked: dict[str, int] = {}
        found: dict[tuple[str, int], list[tuple[str, Any]]] = {}
        for (seq, kind, step, *_), (_, _, _, own) in zip(self.rows, self.events, strict=True):
            if kind == "StepWaiting":
                asked[step] = seq
            elif kind == "StepAnswered":
                found.setdefault((step, asked.get(step, 0)), []).append((own.get("by"), own.get("value")))
        return found

    @cached_property
    def again(self) -> Counter[str]:
        """Step -> how often it was begun anew though its failure was recorded, which going on with a run means."""
        failed, found = set[str](), Counter[str]()
        for kind, step, _, own in self.events:
            if kind == "StepFailed":
                failed.add(step)
            elif kind == "RunResumed":
                for path in failed & set(own.get("reset", ())):
                    found[path] += 1
                    failed.discard(path)
        return found


@dataclass(frozen=True, slots=True)
class Baseline:
    """The same fixture without a kill.

    Attributes:
        requests: How many reached the ledger.
        took_s: From the fork to the end of the process; of the one that took longest, where there are several.
    """

    outcome: Outcome
    log: Log
    requests: int
    took_s: float


class Judge:
    """Looks at one case, after each kill and at its end.

    Attributes:
        run_id: The run's, once it is in the store.
    """

    def __init__(self, fixture: Fixture, baseline: Baseline) -> None:
        self._faults: dict[Fault, None] = {}
        self._fixture = fixture
        self._baseline = baseline
        self._at_kills: list[Log] = []
        self._log = Log(())
        self.run_id: str | None = None

    def say(self, kind: Literal["lost", "changed", "repeated", "stuck"], text: str) -> None:
        """Note a broken promise."""
        self._faults[Fault(kind, text)] = None

    @property
    def faults(self) -> list[Fault]:
        """What was found, each once."""
        return list(self._faults)

    def look(
        self,
        left: Left,
        *,
        ids: Sequence[str],
        entries: Sequence[Entry],
        notes: Sequence[Note],
        answers: Sequence[Answer] = (),
    ) -> Log:
        """Judge what is there after a process has ended, however it did, and give the run's log.

        Args:
            ids: Runs whose ids a caller was given.
            entries: The ledger's book.
            notes: What functions, tools and scripts noted.
            answers: What people were told that it counts.
        """
        for fault in left.faults:
            self.say("changed", f"the database is damaged: {fault}")
        for run_id in set(ids) - left.logs.keys():
            self.say("lost", f"run {run_id} was acknowledged and is not there")
        if len(left.logs) > 1:
            self.say("repeated", f"{len(left.logs)} runs were made of one")
        self.run_id = next(iter(left.logs), None)
        log = Log(next(iter(left.logs.values()), ()))
        self._grown(log, next(iter(left.last_seqs.values()), 0))
        self._sent(log, entries)
        self._once(log)
        self._recorded(entries, notes)
        self._noted(log, notes)
        self._unasked(log, entries, notes)
        self._accepted(log, answers)
        self._log = log
        self._at_kills.append(log)
        return log

    def _grown(self, log: Log, last_seq: int) -> None:
        """The log goes on where it was, without a gap."""
        before = self._log.rows
        if len(log.rows) < len(before):
            self.say("lost", f"the log had {len(before)} events and has {len(log.rows)}")
        for old, new in zip(before, log.rows, strict=False):
            if old != new:
                self.say("changed", f"event {old[0]} was {old[1:6]} and is {new[1:6]}")
        if [row[0] for row in log.rows] != list(range(1, last_seq + 1)):
            self.say("lost", f"the row tells of {last_seq} events, and there are {[row[0] for row in log.rows]}")

    def _sent(self, log: Log, entries: Sequence[Entry]) -> None:
        """What the ledger was asked has its start in the log, and was asked once."""
        started = {(step, call) for _, step, call, _ in log.of("CallStarted")}
        for entry in entries:
            if (entry.step, entry.call) not in started:
                self.say("lost", f"request {entry.call} of {entry.step!r} was sent and has no start in the log")
        for (step, call), count in Counter((entry.step, entry.call) for entry in entries).items():
            if count > 1:
                self.say("repeated", f"request {call} of {step!r} was sent {count} times under one number")
        tokens = {(entry.step, entry.call): entry.tokens for entry in entries}
        for _, step, call, own in log.of("CallFinished"):
            usage = own.get("usage")
            if usage and tokens.get((step, call)) != (usage["input_tokens"], usage["output_tokens"]):
                self.say(
                    "changed", f"request {call} of {step!r} billed {tokens.get((step, call))}, the log says {usage}"
                )

    def _once(self, log: Log) -> None:
        """Each record stands there once."""
        records = Counter(
            (kind, step, call, str(own.get("id", own.get("iteration", ""))))
            for kind, step, call, own in log.of(
                "CallStarted", "CallFinished", "StepSucceeded", "ToolFinished", "LoopTurned", "RunFinished"
            )
        )
        for (kind, step, call, _), count in records.items():
            if count > 1:
                self.say("repeated", f"{count} {kind} of {step!r} {call or ''}")

    def _recorded(self, entries: Sequence[Entry], notes: Sequence[Note]) -> None:
        """What was recorded when a process died was not done again by a later one."""
        for life, left in enumerate(self._at_kills, 1):
            done = {step for _, step, _, _ in left.of("StepSucceeded")}
            for entry in entries:
                if entry.life > life and entry.step in done:
                    self.say("repeated", f"{entry.step!r} was recorded when process {life} died, and asked again")
            for note_life, what, step in notes:
                if note_life > life and step in done and what in ("function", "tool", "script"):
                    self.say("repeated", f"{step!r} was recorded when process {life} died, and its {what} ran again")

    def _noted(self, log: Log, notes: Sequence[Note]) -> None:
        """A function, script or tool never ran without its start in the log."""
        for what, kind in (("function", "StepStarted"), ("script", "StepStarted"), ("tool", "ToolStarted")):
            starts = log.count(kind)
            for step, ran in Counter(step for _, noted, step in notes if noted == what).items():
                if ran > starts[step]:
                    self.say("lost", f"the {what} of {step!r} ran {ran} times, with {starts[step]} starts in the log")

    def _unasked(self, log: Log, entries: Sequence[Entry], notes: Sequence[Note]) -> None:
        """What only a person may have run again ran again only where one said so."""
        for path in self._fixture.unknown:
            retries = sum(own.get("value") == "retry" for _, step, _, own in log.of("StepAnswered") if step == path)
            ran = sum(step == path and what == "function" for _, what, step in notes)
            ran += sum(entry.step == path for entry in entries)
            if ran > 1 + retries:
                self.say("repeated", f"{path!r} ran {ran} times, and a person said so {retries} times")

    def _accepted(self, log: Log, answers: Sequence[Answer]) -> None:
        """Of each question one answer was accepted, and it is the one that the log has."""
        accepted: dict[tuple[str, int], list[tuple[str, Any]]] = {}
        for step, seq, by, value in answers:
            accepted.setdefault((step, seq), []).append((by, value))
        for question, found in accepted.items():
            if len(found) > 1:
                self.say("repeated", f"{len(found)} answers to {question} were accepted: {found}")
        for question, found in log.answered.items():
            if len(found) > 1:
                self.say("repeated", f"{len(found)} answers to {question} are in the log: {found}")
            if found[0] not in accepted.get(question, ()):
                self.say("changed", f"{question} has the answer {found[0]}, accepted was {accepted.get(question)}")
        if log.is_over:
            for question in accepted.keys() - log.answered.keys():
                self.say("lost", f"the answer {accepted[question]} to {question} was accepted and is not in the log")

    def end(self, outcome: Outcome, log: Log, entries: Sequence[Entry]) -> None:
        """Judge the run when it has ended."""
        if not log.is_over:
            self.say("lost", "the run ended, and its log does not say so")
            return
        self._bill(log)
        self._counts(log)
        if self._fixture.budget is not None:
            self._bounds(outcome, entries)
        if not self._fixture.is_bounded:
            self._values(outcome)

    def _bill(self, log: Log) -> None:
        """Usage and cost are the sums over the log."""
        finished = [own for _, _, _, own in log.of("CallFinished")]
        usages = [own["usage"] for own in finished if own.get("usage")]
        told = log.events[-1][3]
        summed: dict[str, int] = {
            name: sum(usage.get(name, 0) for usage in usages) for name in ("input_tokens", "output_tokens")
        }
        summed["requests"] = len(log.of("CallStarted"))
        usage: dict[str, int] = told.get("usage") or {}
        for name, total in summed.items():
            if usage.get(name, 0) != total:
                self.say("changed", f"the run says {name} {usage.get(name, 0)}, the log adds up to {total}")
        is_unknown = bool(log.open_calls) or any(
            not own.get("usage") and (own.get("error") or {}).get("type") in _UNKNOWN for own in finished
        )
        cost = None if is_unknown else sum((Decimal(own["cost"]) for own in finished if own.get("cost")), Decimal(0))
        said = None if told.get("cost") is None else Decimal(told["cost"])
        if said != cost:
            self.say("changed", f"the run says it cost {said}, the log adds up to {cost}")

    def _counts(self, log: Log) -> None:
        """Beyond what an uninterrupted run does, only what was in flight at a kill was done again."""
        at_kills, usual, again = self._at_kills[:-1], self._baseline.log, log.again
        ever_open = {call for left in at_kills for call in left.open_calls}
        for step, call in sorted(log.open_calls - ever_open):
            self.say("lost", f"request {call} of {step!r} has no end, and was not in flight at a kill")
        lost = Counter(step for step, _ in log.open_calls)
        expected = usual.count("CallStarted")
        self._at_most(
            log.count("CallStarted"), "requests", lambda step: expected[step] * (1 + again[step]) + lost[step]
        )
        open_steps = _counted(left.open_steps for left in at_kills)
        self._at_most(log.count("StepStarted"), "starts", lambda step: 1 + again[step] + open_steps[step])
        open_tools = _counted(left.open_tools for left in at_kills)
        uses, open_uses = usual.count("ToolStarted"), Counter[str]()
        for (step, _, _), count in open_tools.items():
            open_uses[step] += count
        self._at_most(log.count("ToolStarted"), "tool uses", lambda step: uses[step] + open_uses[step])
        used = Counter((step, call, own["id"]) for _, step, call, own in log.of("ToolStarted"))
        for use, count in used.items():
            if count > 1 + open_tools[use]:
                self.say(
                    "repeated", f"tool use {use} was started {count} times, and in flight at {open_tools[use]} kills"
                )

    def _at_most(self, counts: Mapping[str, int], what: str, allowed: Callable[[str], int]) -> None:
        for step, count in counts.items():
            most = allowed(step)
            if count > most and not self._fixture.is_bounded:
                self.say("repeated", f"{step!r} has {count} {what}, and {most} are explained")

    def _bounds(self, outcome: Outcome, entries: Sequence[Entry]) -> None:
        """The ledger was never asked for more than the budget."""
        budget = self._fixture.budget
        assert budget is not None
        if budget.calls is not None and len(entries) > budget.calls:
            self.say("repeated", f"{len(entries)} requests were sent under a budget of {budget.calls}")
        billed = [entry.tokens for entry in entries if entry.tokens is not None]
        spent = sum(3 * tokens[0] + 15 * tokens[1] for tokens in billed) / 1e6
        if budget.usd is not None and spent > budget.usd:
            self.say("repeated", f"{spent} US dollars were spent under a budget of {budget.usd}")
        if self._fixture.is_bounded and outcome.status != self._baseline.outcome.status:
            self.say("changed", f"the run is {outcome.status}, not {self._baseline.outcome.status}")

    def _values(self, outcome: Outcome) -> None:
        """The result and the value of every step are those of the uninterrupted run, byte for byte."""
        usual = self._baseline.outcome
        if (outcome.status, outcome.output) != (usual.status, usual.output):
            self.say("changed", f"{outcome.status} {outcome.output}, not {usual.status} {usual.output}")
        for path in usual.steps.keys() | outcome.steps.keys():
            if outcome.steps.get(path) != usual.steps.get(path):
                self.say("changed", f"{path!r} is {outcome.steps.get(path)}, not {usual.steps.get(path)}")


def _counted(sets: Iterable[Iterable[Any]]) -> Counter[Any]:
    return Counter(member for members in sets for member in members)
