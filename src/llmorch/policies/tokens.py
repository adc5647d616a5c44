"""How many tokens a request will take, as reservations count them."""

from __future__ import annotations

from ..models.message import Text
from ..requests import ProviderRequest

__all__ = ["prompt_tokens"]

_CHARACTERS_A_TOKEN = 3  # fewer than the usual four: a reservation that is too small would let a budget be overshot
_TOKENS_OF_A_PICTURE = 1_600


def prompt_tokens(request: ProviderRequest) -> int:
    """Tokens of everything a request sends: a token for three characters, rounded up; 1 600 for an image or file.

    Example:
        >>> from llmorch.models.message import Message
        >>> prompt_tokens(ProviderRequest("any", (Message("user", "ten letters"),)))
        4
    """
    characters = 0
    pictures = 0
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            characters += len(content)
        else:
            for part in content:
                characters += len(part.text) if isinstance(part, Text) else 0
                pictures += not isinstance(part, Text)
        for call in message.tool_calls:
            characters += len(call.name) + len(call.arguments)
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description) + len(str(tool.schema))
    if request.output_schema is not None:
        characters += len(str(request.output_schema))
    return -(-characters // _CHARACTERS_A_TOKEN) + pictures * _TOKENS_OF_A_PICTURE
