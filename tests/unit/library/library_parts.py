"""What the tests of the library share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmorch import Block, Payload, Retry, Workflow, each, tool
from llmorch.documents import Document, Library
from llmorch.library import Collection
from llmorch.stores.memory_library import MemoryLibrary
from llmorch.stores.sqlite.library import SqliteLibrary

FIRST_US = 1_767_225_600_000_000  # 2026-01-01


class Facts(BaseModel):
    title: str
    claims: list[str]


@tool
def depth_of(lake: str) -> float:
    """How deep a lake is, in metres."""
    return float(len(lake))


def count(claims: list[str]) -> int:
    return len(claims)


CODE: list[Any] = [Facts, depth_of, count]

VOICE = Block(
    "voice",
    "You write in {{ style }} style.\n\nBe brief, Grüße 😀.\n",
    role="system",
    tags=["tone", "système"],
    folder="Phase 1/Tone",
    defaults={"style": "plain", "n": 0, "off": False, "none": None, "empty": "", "big": 2**70},
    description="How we sound.",
)
DRAFT = Payload(
    "draft",
    VOICE,
    "List the claims made in:\n{{ article }}",
    model="openai:gpt-5-mini",
    output=Facts,
    temperature=0,
    max_tokens=400,
    top_p=0.0,
    seed=0,
    stop=["END"],
    tools=[depth_of],
    fallback=["ollama:qwen3"],
    retry=Retry(attempts=2),
    timeout=30,
    cache=False,
    extra={"logit_bias": {"1": 0}, "flag": False, "none": None},
    description="The claims.",
    tags=["first", "claims"],
)


def flow() -> Workflow[Any]:
    wf = Workflow("article-to-post", description="From an article to a post", on_error="skip")
    wf.input("article", str, description="what is read", untrusted=True)
    wf.input("copies", int, default=0)
    draft = wf.add(DRAFT)
    checks = wf.map(Payload("check", "Is this so: {{ claim }}", temperature=0), claim=each(draft["claims"]))
    total = wf.add(count, claims=draft["claims"])
    return wf.returns({"facts": draft, "checks": checks, "total": total})


class Dated(MemoryLibrary):
    """Puts and deletes at fixed moments, one second after another."""

    def __init__(self) -> None:
        super().__init__()
        self.now = FIRST_US

    async def put(self, document: Document, *, expected: int | None = None, at: int | None = None) -> Document:
        self.now += 1_000_000
        return await super().put(document, expected=expected, at=self.now if at is None else at)

    async def delete(self, kind: Any, name: str, **about: Any) -> None:
        await super().delete(kind, name, **{"at": self.now} | about)


def libraries(folder: Path) -> Iterator[Library]:
    """Every library of the package, empty."""
    yield MemoryLibrary()
    yield SqliteLibrary(folder / "library.db", durability="process")


@asynccontextmanager
async def every_collection(folder: Path) -> AsyncIterator[list[Collection]]:
    """A collection over each of them."""
    found = [Collection(library, code=CODE) for library in libraries(folder)]
    try:
        yield found
    finally:
        for one in found:
            await one.aclose()
