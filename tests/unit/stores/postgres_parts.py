"""What the tests of the PostgreSQL store share."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from llmorch import RunStarted, Warned
from llmorch.ports import Claim, RunRow
from llmorch.stores.sqlalchemy import SqlAlchemyStore
from tests.contract.postgres_server import PASSWORD, PostgresServer

if TYPE_CHECKING:
    import psycopg

    from llmorch.stores.sqlalchemy.session import Session

CHILD = Path(__file__).with_name("postgres_child.py")
LIMIT_S = 60


def new_schema() -> str:
    return f"test_{secrets.token_hex(6)}"


def note(run_id: str, seq: int, text: str = "x") -> Warned:
    return Warned(None, "note", text, run_id=run_id, seq=seq)


async def made(store: SqlAlchemyStore, run_id: str = "r1", **about: object) -> Claim:
    values: dict[str, object] = {"owner": store.owner, "status": "running", "created_at": 1} | about
    row = RunRow(run_id, "w", epoch=1, last_seq=1, **values)  # type: ignore[arg-type]
    await store.create(row, [RunStarted("w", run_id=run_id, seq=1)])
    return Claim(run_id, 1, 1)


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    with anyio.fail_after(LIMIT_S):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await anyio.lowlevel.checkpoint()


def connected(server: PostgresServer, schema: str) -> Session:
    from llmorch.stores.sqlalchemy.address import Address
    from llmorch.stores.sqlalchemy.session import Session

    address = Address(server.url(), schema=schema)
    return Session(address.engine(is_reader=False), address, durability="process")


@contextmanager
def raw(server: PostgresServer, schema: str, *, port: int | None = None) -> Iterator[psycopg.Connection[tuple[object]]]:
    """A connection of somebody else, each statement a transaction of its own."""
    import psycopg

    with psycopg.connect(
        host="127.0.0.1", port=port or server.port, user="tester", password=PASSWORD, dbname="postgres",
        options=f"-csearch_path={schema}", autocommit=True,
    ) as connection:  # fmt: skip
        yield connection


@contextmanager
def child(*words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(CHILD), *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


class Proxy:
    """Stands before the server: it can lose the reply to a commit, keep silent, or cut every connection.

    Attributes:
        lost: How many replies to a commit were lost.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.lost = 0
        self.loses_replies = 0
        self._server = server
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._deaf = set[socket.socket]()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self) -> str:
        return self._server.url().replace(f":{self._server.port}/", f":{self.port}/")

    def silence(self) -> None:
        """Hold back whatever is sent, both ways."""
        self._open.clear()

    def speak(self) -> None:
        self._open.set()

    def cut(self) -> None:
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.speak()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._server.port))
            self._sockets += [client, there]
            for pump in ((client, there, True), (there, client, False)):
                thread = threading.Thread(target=self._pump, args=pump)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                self._open.wait()
                if from_client and self.loses_replies and b"COMMIT\0" in piece:
                    self.loses_replies -= 1
                    self.lost += 1
                    self._deaf.add(source)  # before the server can answer
                elif not from_client and target in self._deaf:
                    break  # the client hears nothing more; the server has the commit
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    made = Proxy(server)
    try:
        yield made
    finally:
        made.close()
