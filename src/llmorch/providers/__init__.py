"""Providers: each speaks one vendor's HTTP API. They are loaded when they are first asked for."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .anthropic import Anthropic as Anthropic
    from .azure import Azure as Azure
    from .deepseek import DeepSeek as DeepSeek
    from .gemini import Gemini as Gemini
    from .kobold import Kobold as Kobold
    from .local import InstanceStatus as InstanceStatus
    from .local import LocalInstances as LocalInstances
    from .mistral import Mistral as Mistral
    from .offline import Offline as Offline
    from .ollama import Ollama as Ollama
    from .openai import OpenAI as OpenAI
    from .openrouter import OpenRouter as OpenRouter
    from .xai import XAI as XAI

__all__ = [
    "XAI",
    "Anthropic",
    "Azure",
    "DeepSeek",
    "Gemini",
    "InstanceStatus",
    "Kobold",
    "LocalInstances",
    "Mistral",
    "Offline",
    "Ollama",
    "OpenAI",
    "OpenRouter",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Anthropic": "llmorch.providers.anthropic",
        "Azure": "llmorch.providers.azure",
        "DeepSeek": "llmorch.providers.deepseek",
        "Gemini": "llmorch.providers.gemini",
        "Kobold": "llmorch.providers.kobold",
        "InstanceStatus": "llmorch.providers.local",
        "LocalInstances": "llmorch.providers.local",
        "Mistral": "llmorch.providers.mistral",
        "Offline": "llmorch.providers.offline",
        "Ollama": "llmorch.providers.ollama",
        "OpenAI": "llmorch.providers.openai",
        "OpenRouter": "llmorch.providers.openrouter",
        "XAI": "llmorch.providers.xai",
    },
)
