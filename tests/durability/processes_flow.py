"""What the processes carry out: a workflow of five calls, and a provider whose book all of them share as a file."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from llmorch import Payload, Workflow, each
from llmorch.ports import Capabilities, OnDelta, ProviderRequest, ProviderResponse, RunStore, Usage

MODEL = "shared:m"
STEPS = ("plan", "part[0]", "part[1]", "part[2]", "sum")


async def thirds(plan: str) -> list[str]:
    """Three parts of a plan."""
    await anyio.lowlevel.checkpoint()
    return [f"{plan}/{third}" for third in range(3)]


def workflow() -> Workflow[Any]:
    """A call, a map of three, and a call over them."""
    made: Workflow[Any] = Workflow("shared")
    n = made.input("n", int)
    plan = made.add(Payload("plan", "{{ n }}: plan"), n=n)
    parts = made.add(thirds, plan=plan)
    texts = made.map(Payload("part", "{{ n }}: part {{ which }}"), name="part", n=n, which=each(parts))
    return made.returns(made.add(Payload("sum", "{{ n }}: sum {{ texts }}"), n=n, texts=texts))


def answer(prompt: str) -> str:
    """What the model says to a prompt, always."""
    n, _, rest = prompt.partition(": ")
    return f"{n}-{rest.split()[0]}-{sum(map(ord, rest)) % 9973}"


class Shared:
    """A provider that writes each request into a file that all processes share, before it answers.

    Args:
        folder: Where the file `sent` is.
        slowest_s: Answers take a random time up to this, in seconds.
    """

    name = "shared"

    def __init__(self, folder: Path, *, slowest_s: float = 0.5) -> None:
        self._sent = folder / "sent"
        self._slowest_s = slowest_s

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def complete(self, request: ProviderRequest, *, on_delta: OnDelta | None = None) -> ProviderResponse:
        prompt = request.messages[-1].text
        note(self._sent, f"{prompt.partition(':')[0]} {request.step}")
        await anyio.sleep(random.random() * self._slowest_s)
        return ProviderResponse(answer(prompt), usage=Usage(10, 5, requests=1))


def note(path: Path, line: str) -> None:
    """Add a line to a file in one write, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def noted(path: Path) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def sent(folder: Path) -> Counter[tuple[int, str]]:
    """How many requests went out, by number of the run and step."""
    return Counter((int(n), step) for n, step in noted(folder / "sent"))


def opened(url: str, *, owner: str | None = None, lease_s: float = 2.0) -> RunStore:
    """The store of a URL, as quick as it can be: what is tried here is the death of processes, not of disks."""
    if url.startswith("sqlite"):
        from llmorch.stores.sqlite import SqliteStore

        return SqliteStore.from_url(url, durability="process", owner=owner)
    from llmorch.stores.sqlalchemy.store import SqlAlchemyStore

    return SqlAlchemyStore(url, durability="process", owner=owner, lease_s=lease_s, renew_s=lease_s / 4)
