"""One workflow over three vendors' APIs: tools, typed answers, a budget, rate limits, and a cache.

Servers on this machine speak the vendors' wire formats here, so that no key is needed; what they answer is canned. To
ask the vendors themselves, leave out `base_url` and `api_key` and set their keys.
"""

from typing import Literal

from pydantic import BaseModel

from llmorch import Budget, Limit, Orchestrator, Payload, Price, RunContext, Workflow, each, tool
from llmorch.providers import Anthropic, Gemini, OpenAI
from llmorch.testing.mock_server import mock_server


class Claim(BaseModel):
    text: str
    weight: Literal["light", "heavy"]


@tool(timeout=5)
def depth_of(lake: Literal["Baikal", "Tanganyika"], context: RunContext) -> float:
    """The depth of a lake in metres.

    Args:
        lake: Its name.
    """
    depths: dict[str, float] = context.deps
    return depths[lake]


look_up = Payload("look-up", "How deep is {{ lake }}? Use the tool.", model="openai:gpt-5-mini", tools=[depth_of])
claim = Payload("claim", "Make a claim of:\n{{ finding }}", model="anthropic:claude-sonnet-4-5", output=Claim)
summary = Payload("summary", "Sum up:\n{{ claims | json }}", model="gemini:gemini-2.5-flash", max_tokens=200)

wf = Workflow("lakes")
lakes = wf.input("lakes", list[str])
findings = wf.map(look_up, lake=each(lakes), concurrency=4)
claims = wf.map(claim, finding=each(findings))
wf.returns(wf.add(summary, claims=claims))


def main() -> None:
    """Run it and say what it took."""
    with (
        mock_server() as openai,
        mock_server(dialect="anthropic") as anthropic,
        mock_server(dialect="gemini") as gemini,
    ):
        orchestrator = Orchestrator(
            providers=[
                OpenAI(base_url=openai, api_key="no-key"),
                Anthropic(base_url=anthropic, api_key="no-key"),
                Gemini(base_url=gemini, api_key="no-key"),
            ],
            limits={
                "openai": Limit(requests_per_minute=600, concurrency=4),
                "anthropic": Limit(tokens_per_minute=200_000),
                "gemini:gemini-2.5-flash": Limit(requests_per_minute=60),
            },
            budget=Budget(usd=5, calls=50),
            prices={"openai:gpt-5-mini": Price(0.25, 2)},
            deps={"Baikal": 1642.0, "Tanganyika": 1470.0},
            cache=3600,
        )
        with orchestrator:
            run = orchestrator.run_sync(wf, lakes=["Baikal", "Tanganyika"])
            again = orchestrator.run_sync(wf, lakes=["Baikal", "Tanganyika"])
    print(f"{run.status}: {run.usage.requests} calls, {run.usage.total_tokens} tokens, ${run.cost:.6f}")
    for path in ("look-up[0]", "claim[0]", "summary"):
        step = run.steps[path]
        used = ", ".join(f"{use.tool}({use.arguments}) = {use.result}" for call in step.calls for use in call.tools)
        print(f"{path:<12} {step.calls[-1].model:<28} {len(step.calls)} calls  {used}")
    print(f"claims: {run[claims][0]!r} ...")
    print(f"output: {run.output!r}")
    print(f"again: {again.usage.requests} calls, the other answers came from the cache")


if __name__ == "__main__":
    main()
