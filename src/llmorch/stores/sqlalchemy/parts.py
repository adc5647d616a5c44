"""What a store is made of, put together; the first file of the folder that loads SQLAlchemy and psycopg."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import URL

from .address import Address
from .claims import Claims
from .faults import Trouble
from .leases import Leases
from .link import Contact, Link, Watch
from .pulse import Pulse
from .queries import Queries
from .reader import Reader
from .revision import Revision
from .schema import is_behind
from .session import Session
from .units import Units
from .writer import Writer

__all__ = ["Parts"]

_IDLE_S = 10.0  # the server ends a transaction in which nothing happens for longer
_LONGEST_CONNECT_S = 10.0
_SHORTEST_ANSWER_S = 5.0


class Parts:
    """The threads, connections and makers of work of one store.

    Args:
        patience_s: For how many seconds callers wait; a server that answers nothing for so long is connected to anew.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        schema: str,
        durability: Literal["power", "process"],
        lease_s: float,
        renew_s: float,
        patience_s: float,
    ) -> None:
        address = Address(url, schema=schema, connect_s=round(min(_LONGEST_CONNECT_S, max(2, patience_s))))
        contact = Contact()
        idle_ms = max(1, round(min(_IDLE_S, lease_s / 2) * 1000))
        write, read, pulse = (
            Link(address, contact, role=role, durability=durability, idle_ms=idle_ms)
            for role in ("write", "read", "pulse")
        )
        self.where = address.shown
        self.leases = Leases(lease_s=lease_s, renew_s=renew_s)
        self.revision = Revision()
        self.units = Units(self.leases, self.where)
        self.claims = Claims(self.leases, self.where)
        self.queries = Queries(self.where)
        self.pulse = Pulse(pulse, name="llmorch-pulse", schema=schema, leases=self.leases, revision=self.revision)
        self.writer = Writer(write, where=self.where, name="llmorch-write", leases=self.leases, pulse=self.pulse)
        self.reader = Reader(read, where=self.where, name="llmorch-read")
        self.watch = Watch((write, read, pulse), name="llmorch-watch", after_s=max(_SHORTEST_ANSWER_S, patience_s))
        self._schema = schema

    @property
    def trouble(self) -> Literal["store-full", "store-busy", "store-failing"] | None:
        """Why units wait just now, as the code of a warning."""
        trouble = self.writer.trouble
        if trouble is None:
            return None
        codes: dict[Trouble, Literal["store-full", "store-busy"]] = {
            Trouble.FULL: "store-full",
            Trouble.BUSY: "store-busy",
        }
        return codes.get(trouble, "store-failing")

    def is_current(self, session: Session) -> bool:
        """Whether the tables are up to date; the work of a job."""
        return not is_behind(session, self._schema)

    def start(self) -> None:
        """Begin what runs beside the lanes, unless that was done before."""
        self.pulse.start()
        self.watch.start()

    def close(self) -> None:
        """Commit what is queued and end every thread; blocks until that is done."""
        self.reader.lane.stop()
        self.writer.lane.stop()
        self.reader.lane.join()
        self.writer.lane.join()
        self.pulse.stop()
        self.pulse.join()
        self.watch.stop()
        self.watch.join()
