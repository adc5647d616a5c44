"""Each marked line is a mistake that both checkers report."""

from pydantic import BaseModel

from llmorch import Block, Budget, Limit, Message, Payload, Retry, Usage


class Facts(BaseModel):
    title: str


plain = Payload("plain", "Say {{ x }}")
typed = Payload("typed", "List {{ x }}", output=Facts)
number = Payload("number", "Count {{ x }}", output=int)

Block("voice")  # error
Block("voice", 5)  # error
Block("voice", "text", "system")  # error
Block("voice", "text", role="narrator")  # error
Block("voice", "text", colour="red")  # error
Payload("a", "text", temperature="hot")  # error
Payload("a", "text", max_tokens=1.5)  # error
Payload("a", "text", modle="openai:gpt-5")  # error
Payload("a", 5)  # error
Payload("a", "text", retry=3)  # error
Retry(attempts="many")  # error
Limit(concurrency="all")  # error
Budget(usd=5, unpriced="maybe")  # error
Message("narrator", "text")  # error
Usage(input_tokens="1")  # error
Usage() + 1  # error

plain.using(modle="openai:gpt-5")  # error
plain.using(temperature="hot")  # error
plain.using(timeout="soon")  # error

narrow: Payload[int] = typed  # error
narrower: Payload[bool] = number  # error


async def run() -> None:
    answer = await plain.run(x=1)
    length: int = answer.value  # error
    (await typed.run(x=1)).value.claims  # error
    answer.text = "changed"  # error
