"""A payload knows the type of its answer."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from llmorch import Block, Message, Payload, Response, Retry, Usage


class Facts(BaseModel):
    title: str
    claims: list[str]


voice = Block("voice", "You write in {{ style }} style.", role="system", tags=["tone"], defaults={"style": "plain"})
assert_type(voice.variables, frozenset[str])
assert_type(voice.render(style="plain"), str)
assert_type(voice.fingerprint, str)

plain = Payload("plain", voice, "Say {{ x }}", model="openai:gpt-5-mini", temperature=0, timeout=timedelta(seconds=5))
typed = Payload("typed", "List {{ x }}", output=Facts, retry=Retry(attempts=2), fallback=["openai:gpt-5.2"], timeout=60)
number = Payload("number", "Count {{ x }}", output=int)
several = Payload("several", "Name {{ x }}", output=list[str])
choice = Payload("choice", "Choose", output=Literal["yes", "no"])
union = Payload("union", "Choose", output=int | str)
schema = Payload("schema", "Answer", output={"type": "object", "properties": {"a": {"type": "string"}}})

assert_type(plain, Payload[str])
assert_type(typed, Payload[Facts])
assert_type(number, Payload[int])
assert_type(several, Payload[list[str]])
assert_type(schema, Payload[Any])
any_choice: Payload[Any] = choice
any_union: Payload[Any] = union

assert_type(typed.using(temperature=0.2, model=None), Payload[Facts])
assert_type(typed.variables, frozenset[str])
assert_type(typed.render(x=[1, 2]), list[Message])

covariant: Payload[object] = typed


async def run() -> None:
    answer = await typed.run(x="text")
    assert_type(answer, Response[Facts])
    assert_type(answer.value, Facts)
    assert_type(answer.value.claims, list[str])
    assert_type(answer.text, str)
    assert_type(answer.usage, Usage)
    assert_type(answer.cost, Decimal | None)
    assert_type(answer.duration, timedelta)
    assert_type((await plain.run(x=1)).value, str)
    assert_type((await schema.run()).value, Any)


assert_type(number.run_sync(x="text").value, int)
assert_type(Usage(input_tokens=1) + Usage(output_tokens=2), Usage)
