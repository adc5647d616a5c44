"""A model server on 127.0.0.1 that keeps a book of its own: it knows what was sent, whatever a store says.

Its answers are pure functions of the conversation, so an answer given twice is the same answer. Marks in the first
message of a user make it difficult: `[busy 2]` refuses the step's first two requests with 503, `[cut 1]` breaks its
first answer off, `[refuse]` answers 400, `[tools 2]` asks for tools in two rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import threading
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from llmorch.models.message import ToolCall
from llmorch.testing._dialect_openai import chunks, error_body, whole
from llmorch.testing.dialects import Said

__all__ = ["Aim", "Entry", "Ledger", "running_ledger"]

_MARK = re.compile(r"\[(busy|cut|refuse|tools) ?(\d*)\]")
_INPUT_TOKENS = 7


@dataclass(slots=True)
class Entry:
    """One request as it arrived.

    Attributes:
        life: Which process of the case sent it, counted from 1.
        call: The number the sender gave it.
        tokens: Input and output tokens of its answer; None when there was none to bill.
    """

    life: int
    step: str
    call: int
    tokens: tuple[int, int] | None = None


@dataclass(slots=True)
class Aim:
    """Kill the sender of the n-th request of a life: when it arrives, or so long after its answer went out."""

    life: int
    request: int
    after_s: float | None


@dataclass(slots=True)
class _Book:
    entries: list[Entry] = field(default_factory=list[Entry])
    by_step: Counter[str] = field(default_factory=Counter[str])
    by_life: Counter[int] = field(default_factory=Counter[int])
    aim: Aim | None = None


class Ledger:
    """The server; `case` is whatever word the sender puts into its requests.

    Args:
        seed: Of the delays of answers.
        most_s: The longest of them, in seconds.
    """

    def __init__(self, *, seed: int, most_s: float = 0.006) -> None:
        self.port = 0
        self._dice = random.Random(seed)
        self._most_s = most_s
        self._books: dict[str, _Book] = {}

    def open(self, case: str) -> None:
        """Begin a book."""
        self._books[case] = _Book()

    def close(self, case: str) -> None:
        """Throw a book away; what still comes for it is not answered."""
        self._books.pop(case, None)

    def aim(self, case: str, aim: Aim | None) -> None:
        """Kill a sender, or nobody."""
        self._books[case].aim = aim

    def entries(self, case: str) -> list[Entry]:
        """What arrived, in the order of arrival."""
        return list(self._books[case].entries)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while (body := await _body(reader)) is not None:
                if not await self._one(json.loads(body), writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender was killed
        finally:
            writer.close()

    async def _one(self, asked: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is to be broken off."""
        note = asked["ledger"]
        book = self._books.get(note["case"])
        if book is None:
            return False
        entry = Entry(note["life"], note["step"], note["call"])
        book.entries.append(entry)
        book.by_step[entry.step] += 1
        book.by_life[entry.life] += 1
        attempt, count = book.by_step[entry.step], book.by_life[entry.life]
        aim = book.aim if book.aim is not None and (book.aim.life, book.aim.request) == (entry.life, count) else None
        if aim is not None and aim.after_s is None:
            _kill(note["pid"])
        await asyncio.sleep(self._dice.uniform(0, self._most_s))
        status, said = answered(asked, entry.step, attempt)
        if said is not None:
            entry.tokens = (said.input_tokens, said.counted)
        is_cut = said is not None and attempt <= _marks(asked).get("cut", 0)
        is_streamed = bool(asked.get("stream"))
        for part in _written(status, said, is_streamed=is_streamed, is_cut=is_cut):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if aim is not None and aim.after_s is not None:
            asyncio.get_running_loop().call_later(aim.after_s, _kill, note["pid"])
        return is_streamed or not is_cut  # a stream that was cut has its last chunk, so the connection goes on


def answered(asked: dict[str, Any], step: str, attempt: int) -> tuple[int, Said | None]:
    """The status and the answer to a conversation; `attempt` counts the step's requests, of all processes, from 1."""
    marks = _marks(asked)
    if attempt <= marks.get("busy", 0):
        return 503, None
    if "refuse" in marks:
        return 400, None
    told = [(message["role"], message.get("content")) for message in asked["messages"]]
    number = zlib.crc32(json.dumps(told).encode())
    rounds = sum(message["role"] == "assistant" for message in asked["messages"])
    if rounds < marks.get("tools", 0) and asked.get("tools"):
        given = json.dumps({"a": number % 100, "b": rounds})
        calls = tuple(
            ToolCall(f"call-{rounds}-{at}", tool["function"]["name"], given) for at, tool in enumerate(asked["tools"])
        )
        return 200, Said(calls=calls, input_tokens=_INPUT_TOKENS)
    text = f"{step} says {number:08x} ä✓ \u2028 \U0001f600 after {rounds} rounds"
    return 200, Said(text, input_tokens=_INPUT_TOKENS)


def _marks(asked: dict[str, Any]) -> dict[str, int]:
    first = next(message["content"] for message in asked["messages"] if message["role"] == "user")
    return {name: int(number or 1) for name, number in _MARK.findall(first)}


def _written(status: int, said: Said | None, *, is_streamed: bool, is_cut: bool) -> Iterator[bytes]:
    if said is None:
        content = json.dumps(error_body(status, "not now" if status == 503 else "never")).encode()
        hint = b"retry-after-ms: 2\r\n" if status == 503 else b""
        yield b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, hint, len(content), content)
        return
    if not is_streamed:
        content = json.dumps(whole(said)).encode()
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
        yield content[: len(content) // 2] if is_cut else content
        return
    pieces = [said.text[:9], said.text[9:21], said.text[21:]] if said.text else []
    events = chunks(said, pieces, reason=None if is_cut else said.reason, usage=True, done=not is_cut)
    events = events[:3] if is_cut else events
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    for event in events:
        yield b"%x\r\n%b\r\n" % (len(event), event)
    yield b"0\r\n\r\n"


async def _body(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    _, _, after = head.lower().partition(b"content-length:")
    return await reader.readexactly(int(after.split(b"\r\n", 1)[0]))


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def running_ledger(*, seed: int) -> Generator[Ledger]:
    """A ledger that answers, on a thread of its own, until the block is left."""
    ledger = Ledger(seed=seed)
    is_up = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        server = await asyncio.start_server(ledger.answer, "127.0.0.1", 0, backlog=256)
        ledger.port = server.sockets[0].getsockname()[1]
        stop.append((asyncio.get_running_loop(), asyncio.Event()))
        is_up.set()
        await stop[0][1].wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True, name="ledger")
    thread.start()
    if not is_up.wait(20):
        raise TimeoutError("the ledger did not start within 20 s")
    try:
        yield ledger
    finally:
        loop, stopping = stop[0]
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
