"""The workflows whose processes are killed, in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio

from llmorch import Budget, Payload, Retry, RunContext, Script, ToolError, Workflow, each, first_of, optional, tool

__all__ = ["FIXTURES", "SCRIPTS", "Fixture", "Notes"]

SCRIPTS = Path(__file__).with_name("kill_scripts")


class Notes(Protocol):
    """Where a function says that it runs.

    Attributes:
        edition: Put behind each prompt: what somebody edited while the run had no process.
    """

    edition: str

    def ran(self, what: str, step: str) -> None:
        """Note it for good, before anything else happens."""


@dataclass(frozen=True)
class Fixture:
    """A workflow and how it is run.

    Attributes:
        make: Builds it; its functions leave a note each time they run.
        budget: Its budget; a ledger may never have been asked for more.
        is_bounded: It ends for want of budget, after fewer calls the more of them were lost; values are not compared.
        is_asking: It waits for people, or may; each process ends when it does.
        unknown: Steps that nobody but a person may run again once they were in flight at a kill.
    """

    make: Callable[[Notes], Workflow[Any]]
    inputs: Mapping[str, Any] = field(default_factory=lambda: {"topic": "tides"})
    budget: Budget | None = None
    concurrency: int = 64
    is_bounded: bool = False
    is_asking: bool = False
    unknown: tuple[str, ...] = ()


def _ask(notes: Notes, name: str, text: str, **options: Any) -> Payload[Any]:
    return Payload(name, f"{text}{notes.edition}", **options)


def _chain(notes: Notes) -> Workflow[Any]:
    async def third(two: str, context: RunContext) -> dict[str, Any]:
        notes.ran("function", context.step)
        return {"text": two, "length": len(two)}

    flow: Workflow[Any] = Workflow("chain")
    flow.add(_ask(notes, "one", "Begin with {{ topic }}."))
    flow.add(_ask(notes, "two", "Go on: {{ one }}"))
    flow.add(third)
    flow.add(_ask(notes, "four", "Go on: {{ third.text }} of {{ third.length }}"))
    return flow.returns(flow.add(_ask(notes, "five", "End: {{ four }}")))


def _diamond(notes: Notes) -> Workflow[Any]:
    def left(start: str, context: RunContext) -> list[str]:
        notes.ran("function", context.step)
        return start.split(" ")

    async def join(left: list[str], right: str, context: RunContext) -> dict[str, Any]:
        notes.ran("function", context.step)
        return {"left": left, "right": right}

    flow: Workflow[Any] = Workflow("diamond")
    flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    flow.add(left)
    flow.add(_ask(notes, "right", "The other side of {{ start }}"))
    return flow.returns(flow.add(join))


def _fan_out(notes: Notes) -> Workflow[Any]:
    def join(parts: list[str], context: RunContext) -> str:
        notes.ran("function", context.step)
        return "\n".join(parts)

    flow: Workflow[Any] = Workflow("fan_out")
    flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    parts = [flow.add(_ask(notes, f"part_{at:02}", f"Part {at} of {{{{ start }}}}")) for at in range(50)]
    return flow.returns(flow.add(join, parts=parts))


def _map(notes: Notes) -> Workflow[Any]:
    async def cut(topic: str, context: RunContext) -> list[str]:
        notes.ran("function", context.step)
        return [f"{topic} [refuse]" if at == 3 else f"{topic} {at}" for at in range(8)]

    flow: Workflow[Any] = Workflow("map")
    pieces = flow.add(cut)
    each_one = flow.map(
        _ask(notes, "piece", "Say: {{ text }}"), name="pieces", text=each(pieces), on_error="skip", concurrency=3
    )
    last = flow.add(_ask(notes, "last", "All: {{ found }}"), found=each_one)
    return flow.returns({"pieces": each_one, "last": last})


def _nested(notes: Notes) -> Workflow[Any]:
    async def weigh(said: str, context: RunContext) -> int:
        notes.ran("function", context.step)
        return len(said)

    inner: Workflow[Any] = Workflow("inner")
    inner.add(_ask(notes, "said", "About {{ subject }}"))
    inner.add(weigh)
    inner.returns(inner.add(_ask(notes, "told", "{{ said }} weighs {{ weigh }}")))
    flow: Workflow[Any] = Workflow("nested")
    first = flow.add(inner, name="first", subject=flow.input("topic"))
    rest = flow.map(inner, name="rest", subject=each([f"place {at}" for at in range(4)]))
    return flow.returns(flow.add(_ask(notes, "end", "{{ first }} and {{ rest }}"), first=first, rest=rest))


def _branch(notes: Notes) -> Workflow[Any]:
    async def is_short(start: str, context: RunContext) -> bool:
        notes.ran("function", context.step)
        return len(start) < 3

    async def no(start: str, context: RunContext) -> str:
        notes.ran("function", context.step)
        raise ToolError("there is none")

    flow: Workflow[Any] = Workflow("branch")
    flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    flow.add(is_short)
    brief = flow.add(_ask(notes, "brief", "Briefly: {{ start }}"), when="is_short")
    full = flow.add(_ask(notes, "full", "At length: {{ start }}"), when="not is_short")
    missing = flow.add(no, on_error="skip")
    return flow.returns(
        flow.add(
            _ask(notes, "end", "{{ chosen }} or {{ other }} or {{ absent }}"),
            chosen=first_of(brief, full),
            other=optional(brief, "nothing"),
            absent=optional(missing, "none"),
        )
    )


def _retry(notes: Notes) -> Workflow[Any]:
    again = Retry(attempts=6, base=0.002, cap=0.01)
    flow: Workflow[Any] = Workflow("retry")
    flow.add(_ask(notes, "hard", "[busy 2] Begin with {{ topic }}.", retry=again))
    flow.add(_ask(notes, "broken", "[cut 1] Go on: {{ hard }}", retry=again))
    return flow.returns(flow.add(_ask(notes, "end", "[busy 1] End: {{ broken }}", retry=again)))


def _tools(notes: Notes) -> Workflow[Any]:
    @tool
    async def add(a: int, b: int, context: RunContext) -> int:
        """Add."""
        notes.ran("tool", context.step)
        await anyio.sleep(0.002)
        return a + b

    @tool
    def name(a: int, b: int, context: RunContext) -> str:
        """Name."""
        notes.ran("tool", context.step)
        return f"{a} of {b} ä"

    flow: Workflow[Any] = Workflow("tools")
    flow.add(_ask(notes, "asks", "[tools 3] Count {{ topic }}.", tools=[add, name]))
    return flow.returns(flow.add(_ask(notes, "end", "End: {{ asks }}")))


def _budget(notes: Notes) -> Workflow[Any]:
    flow: Workflow[Any] = Workflow("budget")
    start = flow.add(_ask(notes, "start", "Begin with {{ topic }}.", max_tokens=64))
    parts = flow.map(_ask(notes, "part", "Part {{ n }} of {{ start }}", max_tokens=64), n=each([1, 2, 3, 4, 5]))
    return flow.returns(
        flow.add(_ask(notes, "end", "{{ start }} {{ parts }}", max_tokens=64), start=start, parts=parts)
    )


def _loop(notes: Notes) -> Workflow[Any]:
    async def weigh(text: str, context: RunContext) -> int:
        notes.ran("function", context.step)
        return len(text)

    def is_enough(output: Any, iteration: int) -> bool:
        notes.ran("rule", "drafts")
        return iteration == 2

    draft: Workflow[Any] = Workflow("draft")
    text = draft.add(_ask(notes, "text", "Write about {{ topic }} after {{ before }}"))
    draft.returns({"text": text, "weight": draft.add(weigh)})
    flow: Workflow[Any] = Workflow("loop")
    drafts = flow.loop(
        draft, until=is_enough, max_iterations=4, carry={"before": "output.text"}, name="drafts", before="nothing"
    )
    short = flow.loop(
        _ask(notes, "shorter", "Shorten {{ long }}"), until="iteration >= 1", max_iterations=3,
        carry={"long": "output"}, long=drafts["text"],
    )  # fmt: skip
    return flow.returns(flow.add(_ask(notes, "end", "{{ drafts }} {{ short }}"), drafts=drafts, short=short))


def _dispatch(notes: Notes) -> Workflow[Any]:
    async def kind(n: int, context: RunContext) -> str:
        notes.ran("function", context.step)
        return ("ask", "count", "write", "none")[n]

    async def count(said: str, context: RunContext) -> int:
        notes.ran("function", context.step)
        return len(said)

    write: Workflow[Any] = Workflow("write")
    write.add(_ask(notes, "title", "A title for {{ said }}"))
    write.returns(write.add(_ask(notes, "body", "Write {{ title }}")))
    one: Workflow[Any] = Workflow("one")
    one.add(_ask(notes, "said", "About {{ n }}"))
    chosen = one.add(kind)
    one.returns(
        one.dispatch(
            chosen, among={"ask": _ask(notes, "ask", "Ask {{ said }}"), "count": count, "write": write},
            otherwise=_ask(notes, "other", "Otherwise {{ said }}"), name="way",
        )
    )  # fmt: skip
    flow: Workflow[Any] = Workflow("dispatch")
    ways = flow.map(one, name="ways", n=each([0, 1, 2, 3]))
    return flow.returns(flow.add(_ask(notes, "end", "{{ ways }} of {{ topic }}"), ways=ways))


def _question(notes: Notes) -> Workflow[Any]:
    flow: Workflow[Any] = Workflow("question")
    start = flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    which = flow.ask("which", f"Which of {{{{ start }}}}?{notes.edition}", answer=Literal["this", "that"])
    before: Any = start
    for name in ("meanwhile", "still", "yet"):
        before = flow.add(_ask(notes, name, "Go on: {{ before }}"), before=before)
    both = flow.add(_ask(notes, "both", "{{ which }} and {{ yet }}"), which=which)
    return flow.returns(flow.ask("publish", f"Publish {{{{ both }}}}?{notes.edition}", answer=bool, both=both))


def _script(notes: Notes) -> Workflow[Any]:
    path = SCRIPTS / "count.sh"
    env = ("KILL_CASE", "KILL_LIFE", "KILL_FOLDER")
    flow: Workflow[Any] = Workflow("script")
    flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    flow.add(Script(path, env=env, parameters={"step": "counts"}), name="counts", input=flow.input("topic"))
    more = flow.add(Script(path, env=env, parameters={"step": "more"}), name="more", after=["start"])
    return flow.returns(flow.add(_ask(notes, "end", "{{ start }} {{ counts }} {{ more }}"), more=more))


def _unknown_ask(notes: Notes) -> Workflow[Any]:
    async def sends(start: str, context: RunContext) -> str:
        notes.ran("function", context.step)
        await anyio.sleep(0.003)
        return f"sent {start}"

    flow: Workflow[Any] = Workflow("unknown_ask")
    flow.add(_ask(notes, "start", "Begin with {{ topic }}."))
    flow.add(sends, on_unknown="ask")
    flow.add(_ask(notes, "told", "Tell: {{ start }}"), on_unknown="ask")
    return flow.returns(flow.add(_ask(notes, "end", "{{ sends }} and {{ told }}")))


FIXTURES: Mapping[str, Fixture] = {
    "chain": Fixture(_chain),
    "diamond": Fixture(_diamond),
    "fan_out": Fixture(_fan_out),
    "map": Fixture(_map),
    "nested": Fixture(_nested),
    "branch": Fixture(_branch),
    "retry": Fixture(_retry),
    "tools": Fixture(_tools),
    "budget": Fixture(_budget, budget=Budget(usd=0.02, calls=60)),
    "bounded": Fixture(_budget, budget=Budget(calls=4), is_bounded=True),
    "loop": Fixture(_loop),
    "dispatch": Fixture(_dispatch),
    "question": Fixture(_question, is_asking=True),
    "script": Fixture(_script),
    "unknown_ask": Fixture(_unknown_ask, is_asking=True, unknown=("sends", "told")),
}
