"""Raw prompts look as each model was trained on, and no message can write a turn of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmorch.models.message import Message, Text, ToolCall
from llmorch.providers._prompt_formats import FORMATS, FormatName

TALK = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello."),
    Message("user", "Why?"),
)

MARKS: dict[FormatName, tuple[str, ...]] = {
    "llama": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "[inst]", "<<sys>>"),
    "llama-chat": (
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<|python_tag|>",
    ),
    "mistral": ("[INST]", "[/INST]", "<s>", "</s>", "[TOOL_CALLS]", "[/AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]", "[IMG]"),
    "command-r": (
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|SYSTEM_TOKEN|>",
        "<BOS_TOKEN>",
        "<EOS_TOKEN>",
        "<PAD>",
    ),
}

EXPECTED: dict[FormatName, str] = {
    "llama": "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Why? [/INST]",
    "llama-chat": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "[INST] Hi[/INST] Hello.</s>[INST] Be brief.\n\nWhy?[/INST]",
    "command-r": (
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Why?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_conversation_looks_as_the_model_was_trained_on(name: FormatName) -> None:
    assert FORMATS[name].prompt(TALK) == EXPECTED[name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_that_is_begun_is_left_open(name: FormatName) -> None:
    prompt = FORMATS[name].prompt((Message("user", "Count."), Message("assistant", "1, 2,")))
    assert prompt.endswith("1, 2,")


@pytest.mark.parametrize("name", FORMATS)
def test_a_system_message_alone_asks_for_an_answer(name: FormatName) -> None:
    asked = FORMATS[name].prompt((Message("system", "Tell a joke."),))
    empty = FORMATS[name].prompt((Message("user", "x"),)).rpartition("x")[2]
    assert "Tell a joke." in asked
    assert asked.endswith(empty)


@pytest.mark.parametrize("name", FORMATS)
def test_a_system_message_at_the_end_does_not_make_the_last_answer_an_open_one(name: FormatName) -> None:
    prompt = FORMATS[name].prompt((*TALK[1:3], Message("system", "Now in French.")))
    assert "Now in French." in prompt
    assert prompt.endswith(FORMATS[name].prompt((Message("user", "x"),)).rpartition("x")[2])


@pytest.mark.parametrize("name", FORMATS)
def test_neighbours_of_one_role_are_one_turn(name: FormatName) -> None:
    apart = (Message("user", "One."), Message("user", (Text("Two"), Text("."))))
    assert FORMATS[name].prompt(apart) == FORMATS[name].prompt((Message("user", "One.\n\nTwo."),))


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
@pytest.mark.parametrize(("name", "mark"), [(name, mark) for name, marks in MARKS.items() for mark in marks])
def test_a_control_token_in_a_message_is_inert(name: FormatName, mark: str, role: str) -> None:
    form = FORMATS[name]
    first = Message("user", "Hello")
    hostile = Message(role, f"a{mark}b", tool_call_id="1" if role == "tool" else None)  # type: ignore[arg-type]  # of 4
    harmless = Message(role, "a!b", tool_call_id="1" if role == "tool" else None)  # type: ignore[arg-type]  # as above
    prompt = form.prompt((first, hostile))
    assert prompt.count(mark) == form.prompt((first, harmless)).count(mark)
    assert f"a{mark[0]} {mark[1:]}b" in prompt


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_no_mixture_of_marks_writes_a_turn(name: FormatName, data: st.DataObject) -> None:
    form = FORMATS[name]
    bits = st.sampled_from((*MARKS[name], "<", "|", ">", "[", "]", "/", "INST", "SYS", "s", "eot_id", " ", "\n"))
    text = "".join(data.draw(st.lists(bits, max_size=12)))
    assert form.control.search(form.inert(text)) is None
    hostile = form.prompt((Message("user", f"x{text}x"), Message("assistant", "ok"), Message("user", "end")))
    harmless = form.prompt((Message("user", "xx"), Message("assistant", "ok"), Message("user", "end")))
    assert len(form.control.findall(hostile)) == len(form.control.findall(harmless))


@pytest.mark.parametrize("name", FORMATS)
def test_text_that_only_looks_technical_stays_as_it_is(name: FormatName) -> None:
    text = "if a[i] < b and c |= d: usage [args] <b>bold</b> [link](x) List<T> <pipe>"
    assert text in FORMATS[name].prompt((Message("user", text),))


@pytest.mark.parametrize("name", FORMATS)
def test_tool_calls_and_results_of_another_provider_are_told_in_words(name: FormatName) -> None:
    call = ToolCall("c1", "add", '{"a":1}')
    prompt = FORMATS[name].prompt(
        (Message("user", "Add."), Message("assistant", "", tool_calls=(call,)), Message("tool", "2", tool_call_id="c1"))
    )
    assert 'Call of add (c1): {"a":1}' in prompt
    assert "Result of c1: 2" in prompt


@pytest.mark.parametrize("name", FORMATS)
def test_the_stop_marks_are_what_ends_a_turn_in_the_prompt(name: FormatName) -> None:
    prompt = FORMATS[name].prompt(TALK)
    assert any(mark in prompt for mark in FORMATS[name].stop)
    for mark in FORMATS[name].stop:
        assert FORMATS[name].control.search(mark), f"a message could hold {mark}"
