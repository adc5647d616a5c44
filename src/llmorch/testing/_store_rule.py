"""What the rules of run stores work with: a store, one loop, and a few ways to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

import anyio

from .._clock import now_us
from ..errors import ClaimLost, LLMOrchError
from ..event_lines import to_line
from ..events import Event, RunStarted, Warned
from ..ports import Claim, RunRow, RunStore
from ..runid import new_run_id
from ._adapter import AdapterCase
from ._suite import Broken, SuiteRule, broken, name_of

__all__ = [
    "Reopen",
    "Rule",
    "StoreCase",
    "at_once",
    "difference",
    "fault_in_events",
    "fault_in_row",
    "note",
    "notes",
    "one_winner",
    "refused",
    "started",
]

T = TypeVar("T")
Reopen = Callable[[RunStore], RunStore | Awaitable[RunStore]]
_OWN = ("lease_until", "totals")  # a store may have its own view of these, or none
_SHOWN = 60


@dataclass
class StoreCase(AdapterCase[RunStore]):
    """One empty store under test, on one loop.

    Attributes:
        store: The store with a limit on each call; `raw` is the same as the factory made it.
    """

    store: RunStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.bounded(self.raw)

    def row(self, **values: Any) -> RunRow:  # Any: fields of a row, which dataclasses.replace checks
        """A row of a new run that "owner-1" carries out."""
        return replace(RunRow(new_run_id(), "tea", "running", 1, "owner-1", 1, now_us()), **values)

    async def run(self, *, status: str | None = None, **values: Any) -> Claim:  # Any: as above
        """The claim on a new run.

        Args:
            status: Give it up in this status right away; its claim is then for reading only.
        """
        row = self.row(**values)
        await self.store.create(row, [started(row)], definition=None)
        claim = Claim(row.id, row.epoch, 1)
        if status is not None:
            await self.store.release(claim, status=status)
        return claim

    async def log(self, run_id: str) -> Sequence[Event]:
        """Every event of a run."""
        return await self.store.events(run_id, limit=100_000)

    async def unchanged(self, before: RunRow, what: str) -> None:
        """Broken when the run is not as it was, or its log is longer than its row says."""
        fault = fault_in_row(await self.store.load(before.id), before)
        if fault:
            broken(f"after {what}, {fault}")
        found = len(await self.log(before.id))
        if found != before.last_seq:
            broken(f"after {what}, the log holds {found} events, not {before.last_seq}")


class Rule(SuiteRule[StoreCase]):
    """One rule of the suite of stores."""

    __slots__ = ()


def started(row: RunRow) -> RunStarted:
    """The first event of that run's log."""
    return RunStarted(row.workflow, run_id=row.id, at_us=row.created_at, seq=1)


def note(claim: Claim | RunRow, *, seq: int | None = None, text: str = "") -> Warned:
    """An event that follows the claim's last, or has that seq."""
    run_id = claim.run_id if isinstance(claim, Claim) else claim.id
    at = claim.last_seq + 1 if seq is None else seq
    return Warned(None, "truncated", text or f"number {at}", run_id=run_id, at_us=1_700_000_000_000_000 + at, seq=at)


def notes(claim: Claim, count: int) -> list[Event]:
    """A unit of so many events that follows the claim."""
    return [note(claim, seq=claim.last_seq + at) for at in range(1, count + 1)]


async def refused(
    asked: Awaitable[object], what: str, *, kinds: tuple[type[Exception], ...] = (ClaimLost,)
) -> Exception:
    """The error where there must be one.

    Args:
        what: What was asked, for the report.
        kinds: The errors it may be; the first stands in the report.
    """
    try:
        await asked
    except Broken:
        raise
    except kinds as error:
        return error
    except Exception as error:  # any other class is the finding
        broken(f"{what} raised {name_of(error)}, not {kinds[0].__name__}")
    broken(f"{what} was taken; it must raise {kinds[0].__name__}")


async def at_once(asked: Sequence[Callable[[], Awaitable[T]]]) -> list[T | Exception]:
    """What each gives or raises, all of them under way at the same time."""
    ends: list[T | Exception] = [Broken("it never ended")] * len(asked)

    async def one(place: int) -> None:
        try:
            ends[place] = await asked[place]()
        except Broken:
            raise
        except Exception as error:  # the caller judges it
            ends[place] = error

    async with anyio.create_task_group() as group:
        for place in range(len(asked)):
            group.start_soon(one, place)
    return ends


def one_winner(ends: Sequence[object], what: str, *, loses: type[LLMOrchError]) -> int:
    """The place of the only one that won, where all others must have lost with that error."""
    won = [place for place, end in enumerate(ends) if not isinstance(end, Exception)]
    odd = next((end for end in ends if isinstance(end, Exception) and not isinstance(end, loses)), None)
    if odd is not None:
        broken(f"of {len(ends)} {what} at once, one raised {name_of(odd)}, not {loses.__name__}")
    if len(won) != 1:
        broken(f"of {len(ends)} {what} at once, {len(won)} won; exactly one may")
    return won[0]


def fault_in_row(found: RunRow, wanted: RunRow) -> str | None:
    """The first field that is not as it should be."""
    if not isinstance(cast("object", found), RunRow):
        return f"it is {type(found).__name__}, not a RunRow"
    for one in fields(RunRow):
        have, want = getattr(found, one.name), getattr(wanted, one.name)
        if have != want and one.name not in _OWN:
            return f"the row's {one.name} is {have!r}, not {want!r}"
    return None


def fault_in_events(found: Sequence[Event], wanted: Sequence[Event]) -> str | None:
    """The first event that did not come back as it was given."""
    if len(found) != len(wanted):
        return f"{len(found)} events came back, not {len(wanted)}"
    for have, want in zip(found, wanted, strict=True):
        if not isinstance(cast("object", have), Event):
            return f"a {type(want).__name__} came back as {type(have).__name__}"
        if have != want or to_line(have) != to_line(want):
            return f"a {type(want).__name__} came back changed: {difference(to_line(have), to_line(want))}"
    return None


def difference(have: str, want: str) -> str:
    """The two texts around the place where they part."""
    at = next((at for at, (one, two) in enumerate(zip(have, want, strict=False)) if one != two), len(want))
    start = max(0, at - _SHOWN // 3)
    return f"...{have[start : start + _SHOWN]}..., not ...{want[start : start + _SHOWN]}..."
