"""One case of the kill proof: a fixture is carried out by one process after another, each killed but the last."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from tests.durability.kill_child import Orders, Outcome
from tests.durability.kill_fixtures import FIXTURES
from tests.durability.kill_judge import Answer, Baseline, Fault, Judge, Log, Note
from tests.durability.kill_ledger import Aim, Ledger, running_ledger
from tests.durability.kill_left import Place, SqlitePlace, marked
from tests.durability.kill_trace import CannotTrace, traced
from tests.durability.kill_warm import Child, Warm, warm_process

__all__ = ["Case", "Ground", "Moment", "Verdict", "ground", "random_case"]

_PATIENCE_S = 60.0
_MOST_LIVES = 8
_STOPS_S = 20.0
_ORPHANS_S = 3.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is killed.

    Attributes:
        kind: `time`: after so many seconds; `line`: after that line of its notes; `request`: when its n-th request
            reaches the ledger, or `after_s` seconds after the answer to it went out; `pwrite64` and `fdatasync`:
            instead of its n-th system call of that name; `never`: it is only traced.
    """

    kind: Literal["time", "line", "request", "pwrite64", "fdatasync", "never"]
    at: float = 0
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A fixture, how it is carried out, and when its processes are killed; `name` is its seed.

    Attributes:
        by_recovery: The orchestrators of later processes find the run by themselves; else they are told its id.
        is_edited: Later processes know the workflow with other prompts.
        is_at_hand: Questions are answered as soon as they are asked; else when the run waits for nothing else.
    """

    name: str
    fixture: str
    backend: str = "asyncio"
    durability: Literal["power", "process"] = "power"
    is_watched: bool = False
    moments: tuple[Moment, ...] = ()
    bug: str | None = None
    by_recovery: bool = False
    is_edited: bool = False
    is_at_hand: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case; `trace` is what strace wrote of the process that was traced last."""

    case: Case
    kills: int
    faults: tuple[Fault, ...]
    took_s: float
    log: Log
    outcome: Outcome | None
    trace: str = ""

    def __str__(self) -> str:
        told = "\n".join(f"  {fault}" for fault in self.faults) or "  no fault"
        return f"{self.case}, {self.kills} kills:\n{told}"


class Ground:
    """What all cases share: a warm process, a ledger, a folder, and the uninterrupted runs to compare with.

    Args:
        people: Makes another warm process, for the processes of people, once it is needed.
        place: Makes the store of a case in a folder of its own.
    """

    def __init__(
        self,
        warm: Warm,
        ledger: Ledger,
        folder: Path,
        *,
        people: Callable[[], Warm],
        place: Callable[[Path], Place] = SqlitePlace,
    ) -> None:
        self.warm = warm
        self.people = cache(people)
        self.ledger = ledger
        self.folder = folder
        self._place = place
        self._baselines: dict[str, Baseline] = {}

    def baseline(self, fixture: str) -> Baseline:
        """The fixture without a kill; carried out once, as every way of doing it must give the same."""
        found = self._baselines.get(fixture)
        if found is None:
            if FIXTURES[fixture].is_asking:
                self.people()  # what that takes is no part of the run
            case = Case(f"baseline {fixture}", fixture)
            nothing = Baseline(Outcome("", None, {}, 0), Log(()), 0, 0.0)
            trial = _Trial(self, case, nothing)
            verdict, requests = trial.run(None)
            stuck = [str(fault) for fault in verdict.faults if fault.kind in ("stuck", "lost")]
            assert verdict.outcome is not None, stuck
            assert not stuck, stuck
            assert FIXTURES[fixture].is_bounded or verdict.outcome.status != "failed", verdict.outcome
            found = Baseline(verdict.outcome, verdict.log, requests, max(trial.took_s))
            self._baselines[fixture] = found
        return found

    def place(self, folder: Path) -> Place:
        """The store in that folder."""
        return self._place(folder)

    def judged(self, case: Case) -> Verdict:
        """Carry the case out."""
        baseline = self.baseline(case.fixture)
        verdict, _ = _Trial(self, case, baseline).run(Judge(FIXTURES[case.fixture], baseline))
        return verdict


class _Trial:
    """Carries one case out.

    Attributes:
        took_s: How long each of its processes lived.
    """

    def __init__(self, ground: Ground, case: Case, baseline: Baseline) -> None:
        self._ground = ground
        self._case = case
        self._folder = ground.folder / f"case-{time.monotonic_ns()}"
        self._folder.mkdir()
        self._place = ground.place(self._folder)
        self._word = self._folder.name
        self._judge = Judge(FIXTURES[case.fixture], baseline)
        self._kills = 0
        self._trace = ""
        self._log = Log(())
        self.took_s: list[float] = []

    def run(self, judge: Judge | None) -> tuple[Verdict, int]:
        """The verdict, and how many requests were sent; without a judge nothing is compared at the end."""
        if judge is not None:
            self._judge = judge
        began = time.monotonic()
        self._ground.ledger.open(self._word)
        try:
            outcome = self._lives(is_judged=judge is not None)
            requests = len(self._ground.ledger.entries(self._word))
        finally:
            self._ground.ledger.close(self._word)
        faults = tuple(self._judge.faults)
        if not faults:
            shutil.rmtree(self._folder)
        verdict = Verdict(self._case, self._kills, faults, time.monotonic() - began, self._log, outcome, self._trace)
        return verdict, requests

    def _lives(self, *, is_judged: bool) -> Outcome | None:
        for life in range(1, _MOST_LIVES + len(self._case.moments)):
            moment = self._case.moments[life - 1] if life <= len(self._case.moments) else None
            was_over = self._log.is_over
            if self._log.is_waiting:
                with self._person(life, "open") as person:
                    self._gone(person, life)
            code = self._lived(life, moment)
            if code is None:
                return None
            self._place.settle()
            self._log = self._judge.look(
                self._place.left(),
                ids=self._ids(),
                entries=self._ground.ledger.entries(self._word),
                notes=self._notes(),
                answers=self._answers(),
            )
            if code == 0 and self._log.is_waiting:
                continue
            if code == 0:
                return self._ended(is_judged=is_judged, has_written=not was_over)
            if code != -9:
                self._judge.say("stuck", f"process {life} ended with {code}: {self._said(life)}")
                return None
            self._kills += 1
        self._judge.say("stuck", "the run does not end")
        return None

    @property
    def _is_accompanied(self) -> bool:
        """Whether a person has the store open while the fixture is carried on."""
        return FIXTURES[self._case.fixture].is_asking and self._case.is_at_hand

    def _lived(self, life: int, moment: Moment | None) -> int | None:
        """The end of a process that carries the fixture on until it ends or its moment has come; None when it hangs."""
        began = time.monotonic()
        with ExitStack() as around:
            if self._is_accompanied:
                around.enter_context(self._person(life, "all"))
            with self._begun(life, moment) as child:
                code = child.wait(moment.at if moment is not None and moment.kind == "time" else _PATIENCE_S)
            if code is None and (moment is None or moment.kind != "time"):
                self._judge.say("stuck", f"process {life} did not end within {_PATIENCE_S:g} s: {self._said(life)}")
                child.kill()
                return None
            if code is None:
                code = child.kill()
            self.took_s.append(time.monotonic() - began)
            if child.orphans:
                self._judge.say("stuck", f"process {life} left {child.orphans} processes behind")
        if left := marked(f"KILL_FOLDER={self._folder}", within_s=_ORPHANS_S):
            self._judge.say("stuck", f"a script of process {life} left behind: {', '.join(left)}")
        return code

    @contextmanager
    def _person(self, life: int, what: Literal["open", "all"]) -> Generator[Child]:
        """A process that answers questions until the block is left."""
        enough = self._folder / "enough"
        enough.unlink(missing_ok=True)
        orders = replace(self._orders(life, None), life=100 + life, answers=what)
        person = self._ground.people().fork(orders)
        try:
            yield person
        finally:
            enough.touch()
            if what == "all":
                self._gone(person, life)

    def _gone(self, person: Child, life: int) -> None:
        code = person.wait(_STOPS_S)
        if code != 0:
            self._judge.say("stuck", f"the person of process {life} ended with {code}: {self._said(100 + life)}")
        if code is None:
            person.kill()

    @contextmanager
    def _begun(self, life: int, moment: Moment | None) -> Generator[Child]:
        """A process that carries the fixture on, traced while it runs where its moment asks for that."""
        aim = None
        if moment is not None and moment.kind == "request":
            aim = Aim(life, int(moment.at), moment.after_s)
        self._ground.ledger.aim(self._word, aim)
        if moment is None or moment.kind not in ("pwrite64", "fdatasync", "never"):
            yield self._ground.warm.fork(self._orders(life, moment))
            return
        gate = self._folder / f"gate-{life}"
        os.mkfifo(gate, 0o600)
        child = self._ground.warm.fork(replace(self._orders(life, moment), gate=str(gate)))
        try:
            call = None if moment.kind == "never" else (moment.kind, int(moment.at))
            with traced(child.pid, log=self._folder / "trace", kill_instead_of=call):
                gate.write_bytes(b"!")
                yield child
        except CannotTrace:
            child.kill()
            raise
        self._trace = (self._folder / "trace").read_text(encoding="utf-8", errors="replace")

    def _orders(self, life: int, moment: Moment | None) -> Orders:
        case = self._case
        return Orders(
            case=self._word,
            life=life,
            fixture=case.fixture,
            folder=str(self._folder),
            url=self._place.url,
            port=self._ground.ledger.port,
            backend=case.backend,
            durability=case.durability,
            run_id=self._judge.run_id,
            is_over=self._log.is_over,
            by_recovery=case.by_recovery or FIXTURES[case.fixture].is_asking,
            edition=" Edited." if case.is_edited and self._judge.run_id is not None else "",
            is_watched=case.is_watched,
            last_line=int(moment.at) if moment is not None and moment.kind == "line" else 0,
            bug=case.bug,
        )

    def _ended(self, *, is_judged: bool, has_written: bool) -> Outcome:
        found = json.loads((self._folder / "outcome").read_text(encoding="ascii"))
        steps = {path: (status, value, error) for path, (status, value, error) in found.pop("steps").items()}
        outcome = Outcome(**found, steps=steps)
        # Who only reads tidies nothing up, and who is not the last cannot.
        if has_written and not self._is_accompanied and (litter := self._place.litter()):
            self._judge.say("stuck", f"left behind: {', '.join(litter)}")
        if is_judged:
            self._judge.end(outcome, self._log, self._ground.ledger.entries(self._word))
        return outcome

    def _ids(self) -> list[str]:
        return self._lines("ids")

    def _notes(self) -> list[Note]:
        notes: list[Note] = []
        for line in self._lines("notes"):
            life, what, step = line.split(" ", 2)
            notes.append((int(life), what, step))
        return notes

    def _answers(self) -> list[Answer]:
        return [tuple(json.loads(line)) for line in self._lines("answers")]

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def _said(self, life: int) -> str:
        """The end of what a process wrote to its standard output and error."""
        path = self._folder / f"said-{life}"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:].strip() if path.exists() else "nothing"


def random_case(seed: str, ground: Ground, fixture: str, *, number: int = 0, bug: str | None = None) -> Case:
    """A case that depends on nothing but the seed, and on how long the fixture takes here.

    Args:
        number: Which one of its fixture it is; every way of doing it has its turn.
    """
    dice = random.Random(seed)
    usual = ground.baseline(fixture)
    turn = number + list(FIXTURES).index(fixture)
    backend = ("asyncio", "trio")[turn % 2]
    slower = 1.4 if backend == "trio" else 1.0
    return Case(
        seed,
        fixture,
        backend,
        ("power", "process")[turn // 2 % 2],
        is_watched=dice.random() < 0.4,
        by_recovery=dice.random() < 0.5,
        is_edited=dice.random() < 0.5,
        moments=tuple(_moment(dice, usual, life, slower=slower) for life in range(dice.choice((1, 1, 2, 3)))),
        bug=bug,
        is_at_hand=dice.random() < 0.5,
    )


def _moment(dice: random.Random, usual: Baseline, life: int, *, slower: float) -> Moment:
    """Some moment in a process; later ones have less to do."""
    part = dice.random() / (1 + life / 2)
    kind = dice.choice(("time", "time", "line", "request", "request"))
    if kind == "line" and usual.outcome.lines:
        return Moment("line", 1 + int(part * usual.outcome.lines))
    if kind == "request" and usual.requests:
        after_s = dice.choice((None, dice.uniform(0, 0.004)))
        return Moment("request", 1 + int(part * usual.requests), after_s)
    return Moment("time", part * usual.took_s * slower)


@contextmanager
def ground(folder: Path, *, seed: int, place: Callable[[Path], Place] = SqlitePlace) -> Generator[Ground]:
    """A ground for cases, until the block is left."""
    with running_ledger(seed=seed) as ledger, warm_process() as warm, ExitStack() as stack:
        people = partial(stack.enter_context, warm_process())
        yield Ground(warm, ledger, folder, people=people, place=place)
