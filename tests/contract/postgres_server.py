"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port of 127.0.0.1, by a plain user."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "pass-canary-" + secrets.token_hex(8)
_USERS = ("postgres", "nobody")
_START_S = 60.0
_SETTINGS = (
    "fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB", "unix_socket_directories=",
    "listen_addresses=127.0.0.1", "autovacuum=off", "jit=off", "lc_messages=C",
)  # fmt: skip


class NotInstalled(Exception):
    """There is no server to start; the text says why."""


@dataclass
class PostgresServer:
    """A server that runs until `stop`.

    Attributes:
        port: Where it listens.
    """

    programs: Path
    folder: Path
    user: str | None
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", *, user: str = "tester", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; on the main thread, as it ends with the thread that started it."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *settings]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = self._popen(command, log.fileno(), preexec_fn=_end_with_parent)
        ends = time.monotonic() + _START_S
        ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tester"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise NotInstalled(f"postgres did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it at once; with SIGQUIT it dies as if the machine did."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        self.process = None

    def psql(self, query: str, database: str = "postgres") -> str:
        """What the query prints, as the superuser."""
        command = [
            self.programs / "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
            "-p", str(self.port), "-U", "tester", "-d", database, "-c", query,
        ]  # fmt: skip
        environment = os.environ | {"PGPASSWORD": PASSWORD}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def database(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self.psql(f"CREATE DATABASE {name}")
        return name

    def make(self) -> None:
        """Lay out the data folder."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if self.user is not None:
            shutil.chown(self.folder, self.user)
            shutil.chown(secret, self.user)
        command = [
            self.programs / "initdb", "-D", self.folder / "data", "-U", "tester", "-A", "scram-sha-256",
            f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync",
        ]  # fmt: skip
        made = self._popen(command, subprocess.PIPE)
        output, _ = made.communicate(timeout=120)
        if made.returncode != 0:
            raise NotInstalled(f"initdb failed: {output.decode(errors='replace')[-2000:]}")

    def _popen(
        self, command: list[str | Path], output: int, *, preexec_fn: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            preexec_fn=preexec_fn,
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        )


_KEY = pytest.StashKey["PostgresServer | str"]()


def shared_server(config: pytest.Config) -> PostgresServer:
    """The one server of a test session, started at its first use and ended with the session; else a skip."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg", exc_type=ImportError)
    if _KEY not in config.stash:
        holder = postgres_server()
        try:
            config.stash[_KEY] = holder.__enter__()
        except NotInstalled as reason:
            config.stash[_KEY] = str(reason)
        else:
            config.add_cleanup(lambda: holder.__exit__(None, None, None))
    found = config.stash[_KEY]
    if isinstance(found, str):
        pytest.skip(found)
    return found


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that is ended with the block.

    Raises:
        NotInstalled: There is none to start here.
    """
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="llmorch-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(programs, folder, user, _free_port())
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    """The server ends when the tests are killed (Linux: PR_SET_PDEATHSIG)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _programs() -> Path:
    """The folder of initdb and postgres: Debian keeps them away from PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    versions = Path("/usr/lib/postgresql")
    if versions.is_dir():
        folders += sorted(versions.glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql", "pg_isready")):
            return folder
    raise NotInstalled("no PostgreSQL server is installed (Debian: apt-get install postgresql)")


def _user() -> str | None:
    """Whom to run it as: postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise NotInstalled("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
