"""In what vendors differ who speak chat completions: data and small functions, read by request and answer alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..models.message import File, Message
from ..models.usage import Usage
from ..models.values import Data
from ._chat_thinking import Thinking
from ._classify import Complaint, complaint_in
from ._loose_json import usage_of

__all__ = ["ChatDialect", "short_id"]

_LONGEST_ID = 40


@dataclass(frozen=True, slots=True)
class ChatDialect:
    """In what one vendor's chat completions differ from the others'.

    Attributes:
        chat_path: Where answers are asked for, behind the base address; `{model}` in it stands for the model's name.
        models_path: Where models are listed.
        key_header: The header that carries the key alone; empty: the key is a bearer token.
        names: What settings are called, where it is not our name.
        defaults: Fields of every body, unless `extra` holds them.
        asks_for_usage: A stream tells of tokens only when it is asked to.
        json_schema: The vendor takes a JSON schema for its answer; else it is only told to write JSON.
        strict_tools: A tool's schema is sent as strict where it can be said in the strict dialect unchanged.
        declares_tools: Messages that hold tool calls want tools beside them, even when none may be called.
        names_tools: A tool's message also bears the tool's name.
        call_id: Gives the id under which a tool call goes out.
        file: Gives the part that a File becomes; None for one that the vendor does not take.
        give_back: Puts what the vendor wants back into an assistant's message; also told whether the conversation
            holds tool calls.
        replay: What the vendor wants back with the calls of this answer.
        usage: Reads the tokens of one call.
        complaint: Reads an error.
    """

    chat_path: str = "/chat/completions"
    models_path: str = "/models"
    key_header: str = ""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    defaults: Mapping[str, Data] = field(default_factory=dict[str, Any])
    asks_for_usage: bool = True
    json_schema: bool = True
    strict_tools: bool = False
    declares_tools: bool = False
    names_tools: bool = False
    call_id: Callable[[str], str] | None = None
    file: Callable[[File], dict[str, Any] | None] | None = None
    give_back: Callable[[Message, dict[str, Any], bool], None] | None = None
    replay: Callable[[Thinking], Mapping[str, Data]] | None = None
    usage: Callable[[Any], Usage | None] = usage_of  # Any: whatever JSON a server sent
    complaint: Callable[[Any], Complaint | None] = complaint_in  # Any: as above


def short_id(given: str) -> str:
    """The id itself up to 40 characters, which is all that OpenAI takes; a longer one (another vendor's) hashed."""
    return given if len(given) <= _LONGEST_ID else f"call_{hashlib.sha256(given.encode()).hexdigest()[:24]}"
