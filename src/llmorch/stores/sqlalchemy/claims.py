"""What the writer does about owners: claiming, renewing and giving up runs, by the clock of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ...errors import ClaimLost, RunNotFound
from ...ports import Claim
from .._rows import asked
from .faults import Locked
from .leases import Leases
from .queries import IS_ALIVE, IS_WAITING, not_found
from .session import NOW, Session

__all__ = ["FINAL", "Claims", "is_waiting", "let_go", "locked", "renew_all"]

FINAL = frozenset({"succeeded", "partial", "failed", "cancelled"})

_State = tuple[int, str | None, int, int, bool]
_STATE = f"SELECT n, owner, epoch, last_seq, {IS_ALIVE} FROM runs r WHERE id = %(id)s"
_CLAIM = (
    "UPDATE runs SET owner = %(owner)s, epoch = epoch + 1, recoveries = recoveries + %(died)s, "
    f"lease_until = {NOW} + %(lease)s WHERE n = %(n)s"
)
_RENEW = (
    f"UPDATE runs SET lease_until = {NOW} + %(lease)s WHERE id = %(id)s AND epoch = %(epoch)s AND owner IS NOT NULL"
)
_RELEASE = (
    "UPDATE runs SET owner = NULL, lease_until = NULL, status = %(status)s, "
    f"finished_at = CASE WHEN %(is_final)s THEN coalesce(finished_at, {NOW}) END WHERE n = %(n)s"
)
_MINE = "unnest(%(ids)s::text[], %(epochs)s::bigint[]) AS o(id, epoch)"
# A row that is locked is just being written, by a unit of its owner, which renews it, or by who leaves something.
_RENEW_ALL = (
    f"WITH mine AS (SELECT r.n FROM runs r JOIN {_MINE} ON r.id = o.id AND r.epoch = o.epoch "
    "WHERE r.owner IS NOT NULL FOR NO KEY UPDATE OF r SKIP LOCKED) "
    f"UPDATE runs SET lease_until = {NOW} + %(lease)s FROM mine WHERE runs.n = mine.n RETURNING runs.id"
)
_LOST = (
    f"SELECT o.id FROM {_MINE} LEFT JOIN runs r ON r.id = o.id AND r.epoch = o.epoch AND r.owner IS NOT NULL "
    "WHERE r.n IS NULL"
)
_LET_GO = f"UPDATE runs SET lease_until = NULL FROM {_MINE} WHERE runs.id = o.id AND runs.epoch = o.epoch"


class Claims:
    """Makes the work of each method of the store that is about owners.

    Args:
        leases: Where claims are kept that were committed.
        where: The database, for texts.
    """

    def __init__(self, leases: Leases, where: str) -> None:
        self._leases = leases
        self._where = where

    def claim(self, run_id: str, owner: str, *, takeover: bool) -> Callable[[Session], Claim]:
        """Change the owner; see `RunStore.claim`."""
        tried: int | None = None  # the epoch that an earlier try of this claim may have committed

        def work(session: Session) -> Claim:
            nonlocal tried
            n, former, epoch, last_seq, is_alive = self._free(session, run_id, takeover=takeover)
            is_ours = tried is not None and (former, epoch) == (owner, tried)
            if not is_ours:
                if is_alive and not takeover:
                    raise self._owned(run_id, former)
                died = former is not None
                session.run(_CLAIM, {"n": n, "owner": owner, "died": int(died), "lease": self._leases.lease_us})
                epoch = tried = epoch + 1
            session.after_commit(lambda: self._leases.keep(run_id, epoch))
            return Claim(run_id, epoch, last_seq)

        return work

    def _free(self, session: Session, run_id: str, *, takeover: bool) -> _State:
        """The run's state, with its row locked; who claims does not wait in line.

        Raises:
            ClaimLost: Another writes it just now, and its owner lives.
            Locked: Another writes it just now, and may be the next owner.
            RunNotFound: There is no such run.
        """
        found = session.row(f"{_STATE} FOR NO KEY UPDATE SKIP LOCKED", {"id": asked(run_id)})
        if found is None:
            found = session.row(_STATE, {"id": asked(run_id)})
            if found is None:
                raise not_found(run_id, self._where)
            if found[4] and not takeover:
                raise self._owned(run_id, found[1])
            raise Locked(f"another session writes run {run_id}")
        n, owner, epoch, last_seq, is_alive = found
        return n, owner, epoch, last_seq, is_alive

    def _owned(self, run_id: str, owner: str | None) -> ClaimLost:
        return ClaimLost(
            f"Run {run_id} is owned by {owner}, whose lease is not over; cancel the run there first, or take it over",
            run_id=run_id,
        )

    def renew(self, claim: Claim) -> Callable[[Session], None]:
        """Lengthen the lease; see `RunStore.renew`."""
        claim = replace(claim)
        values = {"id": claim.run_id, "epoch": claim.epoch, "lease": self._leases.lease_us}

        def work(session: Session) -> None:
            if session.run(_RENEW, values):
                return
            found = session.row(_STATE, {"id": claim.run_id})
            if found is None:
                raise not_found(claim.run_id, self._where)
            if found[2] != claim.epoch:
                self._leases.drop(claim.run_id, claim.epoch)
                raise ClaimLost(f"Run {claim.run_id} was taken by {found[1] or 'another owner'}", run_id=claim.run_id)

        return work

    def release(self, claim: Claim, status: str) -> Callable[[Session], bool]:
        """Give the run up unless somebody left something; see `RunStore.release`."""
        claim = replace(claim)

        def work(session: Session) -> bool:
            try:
                n, _, epoch, _, _ = locked(session, claim.run_id)
            except RunNotFound:
                return True
            # A statement of its own: it sees what was left while the one before it waited for the lock.
            if epoch == claim.epoch and is_waiting(session, n):
                return False
            if epoch == claim.epoch:
                session.run(_RELEASE, {"n": n, "status": status, "is_final": status in FINAL})
            session.after_commit(lambda: self._leases.drop(claim.run_id, claim.epoch))
            return True

        return work

    def leave(self, run_id: str, epoch: int) -> Callable[[Session], None]:
        """Let another have the run at once, which nobody here carries out."""
        return lambda session: let_go(session, {run_id: epoch})


def locked(session: Session, run_id: str) -> _State:
    """n, owner, epoch, last seq of a run and whether its owner lives; nobody changes it until the commit.

    Raises:
        RunNotFound: There is no such run.
    """
    found = session.row(f"{_STATE} FOR NO KEY UPDATE", {"id": asked(run_id)})
    if found is None:
        raise not_found(run_id, session.where)
    n, owner, epoch, last_seq, is_alive = found
    return n, owner, epoch, last_seq, is_alive


def is_waiting(session: Session, n: int) -> bool:
    """Whether there is something in the run's inbox."""
    found = session.row(f"SELECT {IS_WAITING} FROM runs r WHERE n = %(n)s", {"n": n})
    return found is not None and bool(found[0])


def renew_all(session: Session, leases: Leases) -> bool:
    """Lengthen every lease of this store; False when some were being written just then and are to be tried again."""
    held = leases.held()
    if not held:
        return True
    renewed = {run_id for (run_id,) in session.rows(_RENEW_ALL, _lists(held) | {"lease": leases.lease_us})}
    rest = {run_id: epoch for run_id, epoch in held.items() if run_id not in renewed}
    if not rest:
        return True
    for (run_id,) in session.rows(_LOST, _lists(rest)):
        leases.drop(run_id, rest.pop(run_id))
    return not rest


def let_go(session: Session, held: Mapping[str, int]) -> None:
    """End the leases of these claims, run id -> epoch."""
    session.run(_LET_GO, _lists(held))


def _lists(held: Mapping[str, int]) -> dict[str, object]:
    return {"ids": list(held), "epochs": list(held.values())}
