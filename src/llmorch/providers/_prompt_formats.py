"""Conversations as raw text, for servers that complete a prompt and know no messages.

Source: "llama" https://github.com/meta-llama/llama/blob/main/llama/generation.py (Llama 2, 2023-07); "llama-chat"
https://github.com/meta-llama/llama3/blob/main/llama/tokenizer.py (`ChatFormat`, Llama 3, 2024-04); "mistral"
https://docs.mistral.ai/cookbook/concept-deep-dive-tokenization-templates (tokenizer V3, 2024-11); "command-r"
https://docs.cohere.com/docs/prompting-command-r (2024-04). The token that begins a text is left out everywhere: these
servers put it there themselves, and two of them spoil the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..models.message import Message

__all__ = ["FORMATS", "FormatName", "PromptFormat"]

FormatName = Literal["llama", "llama-chat", "mistral", "command-r"]

_Turn = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """One way to write a conversation as text.

    Attributes:
        stop: Where the model's answer is over.
        control: Matches what would be read as structure; in the text of a message it is made inert.
        render: Puts turns (role and clean text; roles system, user, assistant) together.
    """

    stop: tuple[str, ...]
    control: re.Pattern[str]
    render: Callable[[Sequence[_Turn]], str]

    def prompt(self, messages: Iterable[Message]) -> str:
        """The text a model completes with its answer.

        An assistant's message at the end is left open, so that the model goes on with it.
        """
        return self.render(_turns(messages, self.inert))

    def inert(self, text: str) -> str:
        """The text with a blank inside everything that this format takes for structure."""
        return self.control.sub(_parted, text)


def _parted(found: re.Match[str]) -> str:
    text = found.group()
    return f"{text[0]} {text[1:]}"


def _turns(messages: Iterable[Message], inert: Callable[[str], str]) -> list[_Turn]:
    """Role and text, with neighbours of one role as one turn."""
    merged: list[tuple[str, list[str]]] = []
    for message in messages:
        role = "user" if message.role == "tool" else message.role
        if merged and merged[-1][0] == role:
            merged[-1][1].append(_said(message))
        else:
            merged.append((role, [_said(message)]))
    return [(role, inert("\n\n".join(part for part in parts if part)).strip()) for role, parts in merged]


def _said(message: Message) -> str:
    """What the message says; tool calls and their results are told in words, because no format here has them."""
    text = message.text.strip()
    if message.role == "tool":
        return f"Result of {message.tool_call_id or 'the tool'}: {text}"
    calls = (f"Call of {call.name} ({call.id}): {call.arguments}" for call in message.tool_calls)
    return "\n".join(filter(None, (text, *calls)))


def _exchanges(turns: Sequence[_Turn]) -> tuple[str, list[tuple[str, str | None]]]:
    """All system text, and pairs of what the user said and what was answered; None where an answer is due."""
    system = "\n\n".join(text for role, text in turns if role == "system" and text)
    pairs: list[tuple[str, str | None]] = []
    for role, text in turns:
        if role == "user":
            if pairs and pairs[-1][1] is None:  # only a system message stood between
                pairs[-1] = (f"{pairs[-1][0]}\n\n{text}", None)
            else:
                pairs.append((text, None))
        elif role == "assistant":
            if pairs and pairs[-1][1] is None:
                pairs[-1] = (pairs[-1][0], text)
            else:
                pairs.append(("", text))
    if not pairs or (turns[-1][0] == "system" and pairs[-1][1] is not None):
        pairs.append(("", None))
    return system, pairs


def _llama_2(turns: Sequence[_Turn]) -> str:
    system, pairs = _exchanges(turns)
    if system:
        pairs[0] = (f"<<SYS>>\n{system}\n<</SYS>>\n\n{pairs[0][0]}", pairs[0][1])
    written = (f"[INST] {said} [/INST]" + ("" if answer is None else f" {answer}") for said, answer in pairs)
    return " </s><s>".join(written)


def _mistral(turns: Sequence[_Turn]) -> str:
    system, pairs = _exchanges(turns)
    if system:  # V3 has it before the last thing the user said
        pairs[-1] = (f"{system}\n\n{pairs[-1][0]}".strip(), pairs[-1][1])
    written = (f"[INST] {said}[/INST]" + ("" if answer is None else f" {answer}") for said, answer in pairs)
    return "</s>".join(written)


def _by_turn(turns: Sequence[_Turn], head: Callable[[str], str], end: str) -> str:
    text = end.join(f"{head(role)}{said}" for role, said in turns)
    if turns and turns[-1][0] == "assistant":
        return text
    return f"{text}{end if turns else ''}{head('assistant')}"


def _llama_3(turns: Sequence[_Turn]) -> str:
    return _by_turn(turns, lambda role: f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")


_COMMAND_R_NAMES: Final = {"system": "SYSTEM", "user": "USER", "assistant": "CHATBOT"}


def _command_r(turns: Sequence[_Turn]) -> str:
    return _by_turn(
        turns,
        lambda role: f"<|START_OF_TURN_TOKEN|><|{_COMMAND_R_NAMES[role]}_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
    )


# Llama 2 has its marks as plain text, which a model knows in any case; everything else is an exact token.
_MARKS = r"(?i:\[/?INST\]|<</?SYS>>)|</?s>|<unk>|<pad>"
_MISTRAL_TOKENS = (
    r"\[/?(?:TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|MODEL_SETTINGS|THINK)\]"
    r"|\[(?:ARGS|CALL_ID|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX|AUDIO|BEGIN_AUDIO|TRANSCRIBE)\]|\[control_\d+\]"
)

FORMATS: Final[dict[FormatName, PromptFormat]] = {
    "llama": PromptFormat(stop=("</s>", "[INST]"), control=re.compile(_MARKS), render=_llama_2),
    "llama-chat": PromptFormat(
        stop=("<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>"), control=re.compile(r"<\|"), render=_llama_3
    ),
    "mistral": PromptFormat(
        stop=("</s>", "[INST]"), control=re.compile(f"{_MARKS}|{_MISTRAL_TOKENS}"), render=_mistral
    ),
    "command-r": PromptFormat(
        stop=("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>"),
        control=re.compile(r"<\||<(?=[A-Z]+_TOKEN>|(?:PAD|UNK|CLS|SEP)>)"),
        render=_command_r,
    ),
}
