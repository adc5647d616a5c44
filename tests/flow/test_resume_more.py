"""What a run keeps when it is taken up again: the workflow it began with, and what it has spent."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch import Budget, BudgetExceeded, CallStarted, Event, Payload, Price, Retry, Workflow
from llmorch.ports import ProviderResponse, Usage
from tests.flow.elsewhere import dying, process
from tests.flow.stage import MODEL, fails, stage

pytestmark = pytest.mark.anyio

ONCE = Retry(attempts=1)
USED = ProviderResponse("ok", (), Usage(10, 5, requests=1), "stop", "m")


def asking(first: str, second: str) -> Workflow[Any]:
    return Workflow.of(Payload("one", first), Payload("two", second + " {{ one }}"), name="w")


def is_second_call(event: Event) -> bool:
    return isinstance(event, CallStarted) and event.step == "two"


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_run_goes_on_with_the_prompts_it_began_with(by_itself: bool) -> None:
    store, run_id = await dying(asking("Go.", "On:"), {"one": "first", "two": "second"}, when=is_second_call)
    edited = asking("Walk.", "Further:")
    async with process(store, {"*": "again"}, workflows=[edited], recover="own" if by_itself else False) as s:
        handle = s.orch.attach(run_id) if by_itself else await s.orch.resume(run_id)
        assert (await handle.result()).output == "again"
        assert s.prompts("two") == ["On: first"]
        await s.orch.run(edited)
        assert s.prompts("two")[1:] == ["Further: again"], "a run that begins now has the workflow as it is now"


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (Budget(calls=1), False),
        (Budget(calls=2), True),
        (Budget(tokens=15), False),
        (Budget(tokens=5_000), True),
        (Budget(usd=0.000060), False),
        (Budget(usd=1), True),
    ],
)
async def test_a_budget_that_is_given_on_resuming_counts_what_was_spent_before(budget: Budget, left: bool) -> None:
    broken = [True]

    def mend(one: str) -> str:
        return fails() if broken.pop() else one

    wf: Workflow[Any] = Workflow("w")
    wf.add(Payload("one", "Go.", max_tokens=5))
    wf.add(mend)
    wf.returns(wf.add(Payload("two", "On: {{ mend }}", max_tokens=5)))
    async with stage({"*": USED}, prices={MODEL: Price(1, 10)}) as s:
        run = await s.orch.run(wf)
        assert (run.status, run.usage.requests) == ("failed", 1)
        broken.append(False)
        run = await (await s.orch.resume(run.id, budget=budget)).result()
        assert (run.status == "succeeded") is left
        assert left or isinstance(run.error, BudgetExceeded)
        assert s.asked == (["one", "two"] if left else ["one"])
