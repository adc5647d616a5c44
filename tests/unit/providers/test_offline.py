"""The offline provider makes readable, valid, repeatable answers of the prompt's own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from llmorch.errors import BadRequest
from llmorch.models.message import Message
from llmorch.models.settings import Settings
from llmorch.providers import Offline
from llmorch.providers._offline_text import Task, read_task, sentences_of
from llmorch.providers._offline_writer import asked_count, kind_asked
from llmorch.requests import ProviderRequest, ProviderResponse

TEXT = """# The water cycle

Water moves through the sea, the air and the land in the water cycle. The sun warms the sea, and water rises into the
air as vapour. Vapour cools high in the air and forms clouds of small water drops.

When the drops grow heavy, they fall as rain or snow on the land and the sea. Rivers carry the rain from the land back
to the sea. Plants take water from the soil and give vapour to the air. Dr. Smith measured 3.5 litres a day from one
plant in the U.S. state of Ohio. Ice keeps water on the land for thousands of years!

## Why it matters

People drink, cook and wash with water from rivers and from wells. Farms take most of the water that people use. A dry
year leaves rivers low, and cities must save water. Clean rain depends on clean air.
"""
SENTENCES = sentences_of(TEXT)


async def ask(prompt: str, model: str = "auto", **more: Any) -> ProviderResponse:
    return await Offline().complete(ProviderRequest(model, (Message("user", prompt),), **more))


@pytest.mark.parametrize(
    ("prompt", "instruction", "source"),
    [
        ("List the claims made in:\nTea is hot.", "List the claims made in:", "Tea is hot."),
        ("Summarize: Tea is hot.", "Summarize", "Tea is hot."),
        ("Summarize the text.\n\nTea is hot. Ice is cold. Rain is wet.", "Summarize the text.", None),
        ("Tea is hot. Ice is cold. Rain is wet.\n\nSummarize it.", "Summarize it.", None),
        ("Use <doc>Tea is hot.</doc> for a title.", "Use   for a title.", "Tea is hot."),
        ("Title of\n```text\nTea is hot.\n```\nplease", "Title of\n \nplease", "Tea is hot.\n".strip()),
        ("Tea is hot.", "Tea is hot.", "Tea is hot."),
    ],
)
def test_instruction_and_source_are_told_apart(prompt: str, instruction: str, source: str | None) -> None:
    assert read_task(prompt) == Task(instruction, source or "Tea is hot. Ice is cold. Rain is wet.")


def test_sentences_are_prose_without_headings_and_whole_around_abbreviations() -> None:
    assert len(SENTENCES) == 12
    assert "Dr. Smith measured 3.5 litres a day from one plant in the U.S. state of Ohio." in SENTENCES
    assert not any("Why it matters" in sentence or "#" in sentence for sentence in SENTENCES)


def test_lists_and_json_are_read_too() -> None:
    assert sentences_of("- one thing\n- two **things**\n3. a third") == ["one thing", "two things", "a third"]
    assert sentences_of('{"a": ["First one.", {"b": "Second one."}], "c": 3}') == ["First one.", "Second one."]


@pytest.mark.parametrize(
    ("instruction", "kind"),
    [
        ("Summarize the text", "summary"),
        ("Give a title for the post", "title"),
        ("Write a title", "title"),
        ("Write a post titled Tea", "prose"),
        ("Extract key points", "list"),
        ("Five keywords, please", "keywords"),
        ("Outline a talk", "outline"),
        ("Ask three questions", "questions"),
        ("Write it up", "prose"),
        ("Do something", "summary"),
    ],
)
def test_the_instruction_names_the_kind(instruction: str, kind: str) -> None:
    assert kind_asked(instruction) == kind


@pytest.mark.parametrize(
    ("instruction", "count"),
    [
        ("in three sentences", (3, "sentence")),
        ("5 short bullet points", (5, "bullet")),
        ("a one-sentence summary", (1, "sentence")),
        ("in 40 words", (40, "word")),
        ("some sentences", None),
    ],
)
def test_a_number_in_the_instruction_is_read(instruction: str, count: tuple[int, str] | None) -> None:
    assert asked_count(instruction) == count


@pytest.mark.anyio
async def test_a_summary_is_made_of_the_texts_sentences_in_their_order() -> None:
    answer = await ask(f"Summarize in three sentences:\n{TEXT}")
    chosen = [sentence for sentence in SENTENCES if sentence in answer.text]
    assert len(chosen) == 3
    assert answer.text == " ".join(chosen)
    assert answer.finish_reason == "stop"
    assert "no language model" in answer.raw["notice"]


@pytest.mark.anyio
async def test_a_summary_keeps_to_the_number_of_words() -> None:
    assert 0 < len((await ask(f"Summarize in 20 words:\n{TEXT}")).text.split()) <= 20


@pytest.mark.anyio
async def test_key_words_are_words_of_the_text() -> None:
    words = (await ask(f"Name five keywords:\n{TEXT}")).text.split(", ")
    assert len(words) == 5
    assert "water" in words
    assert all(word.lower() in TEXT.lower() for word in words)


@pytest.mark.anyio
async def test_a_list_an_outline_a_title_and_questions_look_like_it() -> None:
    listed = (await ask(f"List four facts from:\n{TEXT}")).text.splitlines()
    assert len(listed) == 4
    assert all(line.startswith("- ") and line[2:] in SENTENCES for line in listed)
    assert (await ask(f"Outline this:\n{TEXT}")).text == "1. The water cycle\n2. Why it matters"
    title = (await ask(f"Give it a title:\n{TEXT}")).text
    assert "\n" not in title
    assert title[0].isupper()
    assert (await ask(f"Ask two questions:\n{TEXT}")).text.count("?") == 2


@pytest.mark.anyio
async def test_echo_gives_the_last_user_message() -> None:
    messages = (Message("user", "first"), Message("assistant", "no"), Message("user", "last\n\none"))
    assert (await Offline().complete(ProviderRequest("echo", messages))).text == "last\n\none"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "prompt", ["x", "?", "Summarize:\n...", "日本語の文章です。次の文です。", "a\n\n\n\nb", "# only"]
)
@pytest.mark.parametrize("model", ["auto", "summary", "keywords", "echo"])
async def test_the_least_prompt_has_an_answer(prompt: str, model: str) -> None:
    assert (await ask(prompt, model)).text


class Claim(BaseModel):
    text: str
    topic: str


class Facts(BaseModel):
    title: str = Field(max_length=40)
    claims: list[Claim] = Field(min_length=2)
    keywords: list[str] = Field(max_length=3)
    word_count: int = Field(ge=1)
    confidence: float = Field(ge=0, le=1)
    about: Literal["money", "water", "music"]
    author: str | None
    mentions_rain: bool
    counts: dict[str, int]
    pair: tuple[str, int]


class Node(BaseModel):
    name: str
    children: list[Node]


@pytest.mark.anyio
async def test_a_schema_is_filled_with_what_the_text_holds() -> None:
    answer = await ask(f"Extract the facts:\n{TEXT}", output_schema=Facts.model_json_schema())
    facts = Facts.model_validate_json(answer.text)
    assert facts.about == "water"
    assert all(claim.text in TEXT.replace("\n", " ") for claim in facts.claims)
    assert facts.word_count > 100
    assert facts.counts["water"] == TEXT.lower().count("water")


@pytest.mark.anyio
@pytest.mark.parametrize("prompt", [f"Extract:\n{TEXT}", "x", "Do:\nTea."])
@pytest.mark.parametrize(
    "output",
    [
        Facts,
        list[str],
        list[Claim],
        int,
        bool,
        Literal["a", "b"],
        int | str,
        dict[str, list[str]],
        Node,
        list[Literal["a", "b"]],
    ],
)
async def test_every_filled_schema_is_valid(output: Any, prompt: str) -> None:
    schema = TypeAdapter(output).json_schema()
    answer = await ask(prompt, output_schema=schema)
    jsonschema.validate(json.loads(answer.text), schema)


@given(
    low=st.integers(-50, 50),
    width=st.integers(0, 100),
    length=st.integers(0, 30),
    items=st.integers(0, 12),
    kind=st.sampled_from(["integer", "number"]),
)
def test_bounds_of_numbers_texts_and_lists_are_kept(low: int, width: int, length: int, items: int, kind: str) -> None:
    from llmorch.providers.offline import _answer

    schema = {
        "type": "object",
        "properties": {
            "n": {"type": kind, "minimum": low, "maximum": low + width},
            "s": {"type": "string", "minLength": length, "maxLength": length + 5},
            "items": {"type": "array", "items": {"type": "string"}, "minItems": items, "maxItems": items + 1},
        },
        "required": ["n", "s", "items"],
    }
    jsonschema.validate(json.loads(_answer("auto", "Extract:\nTea is hot. Ice is cold.", schema)), schema)


@pytest.mark.anyio
async def test_an_answer_is_cut_at_max_tokens_and_at_stop() -> None:
    cut = await ask(f"Summarize:\n{TEXT}", settings=Settings(max_tokens=5))
    assert len(cut.text) == 20
    assert cut.finish_reason == "length"
    assert (await ask("one END two", "echo", settings=Settings(stop=("END",)))).text == "one "


def test_the_same_prompt_has_the_same_answer_in_every_process() -> None:
    code = (
        "import sys, anyio; from llmorch.providers import Offline; from llmorch.models.message import Message;"
        "from llmorch.requests import ProviderRequest;"
        "ask = lambda model: anyio.run(Offline().complete, ProviderRequest(model, (Message('user', sys.argv[1]),)));"
        "print(ask('summary').text, ask('keywords').text)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code, TEXT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


@pytest.mark.anyio
async def test_an_unknown_model_and_a_prompt_without_a_user_are_refused() -> None:
    with pytest.raises(BadRequest, match="did you mean 'summary'"):
        await ask("x", "sumary")
    with pytest.raises(BadRequest, match="last user message"):
        await Offline().complete(ProviderRequest("auto", (Message("system", "x"),)))


@pytest.mark.anyio
async def test_a_long_text_is_answered_too() -> None:
    long = " ".join(f"{sentence[:-1]} in case {at}." for at in range(60) for sentence in SENTENCES)
    answer = await ask(f"Summarize in four sentences:\n{long}")
    assert answer.text.count(" in case ") == 4
