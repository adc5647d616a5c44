"""Where a store's files are, and whether SQLite can be trusted with that place."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from ...errors import StoreError
from .faults import NO_ROOM, Refused

__all__ = ["ENOUGH", "Place", "path_of", "refuse_network"]

_OLDEST = (3, 38)
_BALLAST = 1 << 20
_PLENTY = 8 * _BALLAST
ENOUGH = 2 * _BALLAST
"""Free bytes with which a disk that was full counts as usable again."""
_PROBE = 1 << 14
_NETWORK = frozenset(
    {
        "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs",
    }
)  # fmt: skip
_MOUNTS = Path("/proc/self/mounts")


def path_of(url: str) -> Path:
    """The file that a URL names: `sqlite:///rel.db`, `sqlite:////abs.db` or `sqlite:///~/x.db`.

    Raises:
        ValueError: It is no such URL.

    Example:
        >>> str(path_of("sqlite:////var/lib/runs.db"))
        '/var/lib/runs.db'
    """
    scheme, slashes, rest = url.partition(":///")
    if scheme != "sqlite" or not slashes or not rest or rest.endswith("/"):
        raise ValueError(
            f"{url!r} names no SQLite file; write 'sqlite:///runs.db' (relative), 'sqlite:////var/lib/runs.db' "
            "(absolute) or 'sqlite:///~/runs.db' (in the home folder)"
        )
    if rest == ":memory:":
        raise ValueError(f"{url!r}: a SQLite store is a file; for runs that need not outlive the process say 'memory'")
    if "?" in rest or "#" in rest:
        raise ValueError(f"{url!r}: a SQLite store takes no options in its URL; give them to SqliteStore(...)")
    return Path(rest).expanduser()


class Place:
    """The files of one store: the database and what stands beside it.

    Attributes:
        database: The SQLite file; SQLite adds `-wal` and `-shm`.
        checkpoint: Locked by who writes or checkpoints.
        owners: Folder with a lock file for each owner that lives.
        ballast: Filler that is removed when the disk is full, so that paid answers still find room.
    """

    def __init__(self, path: Path) -> None:
        self.database = Path(os.path.abspath(path))
        name = self.database.name
        self.wal = self.database.with_name(f"{name}-wal")
        self.shm = self.database.with_name(f"{name}-shm")
        self.checkpoint = self.database.with_name(f"{name}.ckpt")
        self.owners = self.database.with_name(f"{name}.owners")
        self.ballast = self.database.with_name(f"{name}.ballast")

    def check(self) -> None:
        """Be sure that there is a file, or a place for one.

        Raises:
            Refused: There is neither. Opening something else, such as a pipe, could block for ever.
        """
        try:
            mode = os.stat(self.database).st_mode
        except FileNotFoundError:
            folder = self.database.parent
            if not folder.is_dir():
                raise Refused(
                    f"There is no folder {folder} for the store {self.database.name}; make it first"
                ) from None
            if self.database.is_symlink():
                target = os.path.realpath(self.database)
                raise Refused(f"The store {self.database} is a link to {target}, which is not there") from None
            return
        if not stat.S_ISREG(mode):
            is_folder = stat.S_ISDIR(mode)
            what, such = ("a folder", f"{self.database}/runs.db") if is_folder else ("no plain file", "runs.db")
            raise Refused(f"{self.database} is {what}; a store is one file, such as {such}")

    def prepare(self) -> None:
        """Make the database file, for this user only, if there is none.

        It is never opened when it exists: closing it again would drop the locks that SQLite holds on it for other
        connections of this process.

        Raises:
            StoreError: The system, the SQLite library or the file system is none that a store can trust.
            Refused: What is at the path is nothing that a store can be.
        """
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreError(f"SqliteStore needs SQLite 3.38 or newer; this Python has {sqlite3.sqlite_version}")
        refuse_network(self.database)
        self.check()
        with suppress(FileExistsError):
            os.close(os.open(self.database, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def reader_uri(self) -> str:
        """How a connection that only reads opens the file."""
        return f"{self.database.as_uri()}?mode=ro"

    def still_uri(self) -> str | None:
        """How to read a file that nobody has open, without writing beside it; None when somebody may have."""
        return None if self.wal.exists() or self.shm.exists() else f"{self.database.as_uri()}?mode=ro&immutable=1"

    def writer_uri(self) -> str:
        """How a connection that writes opens the file, which must exist."""
        return f"{self.database.as_uri()}?mode=rw"

    def wal_bytes(self) -> int:
        """How long the write-ahead log is."""
        try:
            return self.wal.stat().st_size
        except FileNotFoundError:
            return 0

    def lack_of_room(self) -> OSError | None:
        """Why nothing more can be written here, if that is for want of room; SQLite tells only some such failures."""
        probe = self.database.with_name(f"{self.database.name}.probe")
        try:
            descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.pwrite(descriptor, bytes(_PROBE), self.wal_bytes())  # where a limit on files would stop the log
            finally:
                os.close(descriptor)
        except OSError as error:
            return error if error.errno in NO_ROOM else None
        finally:
            with suppress(OSError):
                probe.unlink()
        return None

    def load_ballast(self, *, least: int = _PLENTY) -> bool:
        """Set room aside; False when there is not so much, in bytes, or none of it may be used."""
        free = os.statvfs(self.database.parent)
        if free.f_bavail * free.f_frsize < least:
            return False
        if self.ballast.exists():
            return True
        descriptor = os.open(self.ballast, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            is_whole = os.write(descriptor, bytes(_BALLAST)) == _BALLAST
        except OSError:
            is_whole = False
        finally:
            os.close(descriptor)
        if not is_whole:
            self.drop_ballast()
        return is_whole

    def drop_ballast(self) -> bool:
        """Free the room that was set aside; False when that was done before."""
        try:
            self.ballast.unlink()
        except OSError:
            return False
        return True


def refuse_network(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """Refuse a file on a network file system, where SQLite's shared memory and locks do not work.

    Args:
        mounts: The system's list of mounts; where there is none (no Linux), nothing is refused.

    Raises:
        StoreError: The file system is one; the text names it.

    Source: https://www.sqlite.org/wal.html#overview (2025-05), "WAL does not work over a network filesystem".
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    folder = Path(os.path.realpath(path.parent))
    kind, deepest = "", -1
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if len(point.parts) >= deepest and folder.is_relative_to(point):
            kind, deepest = fields[2], len(point.parts)
    if kind in _NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where SQLite loses data; put the store on a local disk, or "
            "use the postgres store"
        )
