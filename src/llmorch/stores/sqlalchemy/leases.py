"""The runs that this store owns just now, which is what it renews the leases of."""

from __future__ import annotations

import threading

__all__ = ["Leases"]


class Leases:
    """Claims of runs, kept and dropped by whichever thread gets or loses them.

    Args:
        lease_s: For how long a claim holds without being renewed, in seconds.
        renew_s: How often it is renewed, in seconds.
    """

    def __init__(self, *, lease_s: float, renew_s: float) -> None:
        if not 0 < renew_s < lease_s:
            raise ValueError(
                f"leases of lease_s={lease_s:g} must be renewed in less time, not after renew_s={renew_s:g}"
            )
        self.lease_us = round(lease_s * 1_000_000)
        self.renew_s = renew_s
        self._guard = threading.Lock()
        self._claims: dict[str, int] = {}  # run id -> epoch

    def keep(self, run_id: str, epoch: int) -> None:
        """The run was claimed."""
        with self._guard:
            self._claims[run_id] = epoch

    def drop(self, run_id: str, epoch: int) -> None:
        """The run was given up, ended or lost; a claim of a later epoch stays."""
        with self._guard:
            if self._claims.get(run_id, epoch) <= epoch:
                self._claims.pop(run_id, None)

    def held(self) -> dict[str, int]:
        """Run id -> epoch of every claim."""
        with self._guard:
            return dict(self._claims)
