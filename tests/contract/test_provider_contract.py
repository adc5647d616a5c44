"""Every built-in provider keeps to the public conformance suite, against a server that speaks its vendor's dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from llmorch.ports import Provider
from llmorch.providers import registry
from llmorch.providers.anthropic import Anthropic
from llmorch.providers.azure import Azure
from llmorch.providers.deepseek import DeepSeek
from llmorch.providers.gemini import Gemini
from llmorch.providers.kobold import Kobold
from llmorch.providers.mistral import Mistral
from llmorch.providers.offline import Offline
from llmorch.providers.ollama import Ollama
from llmorch.providers.openai import OpenAI
from llmorch.providers.openrouter import OpenRouter
from llmorch.providers.xai import XAI
from llmorch.testing.conformance import check_provider
from tests.contract.echo_server import echo_server

SECRET = "canary-7c0ffee-key"
NO_SERVER = {"refused-connection", "silent-server", "error-statuses", "strange-answers", "echoed-key"}
NO_TOOLS = {"tools", "tool-rounds"}


@dataclass(frozen=True)
class Row:
    """A provider over HTTP.

    Attributes:
        kind: Its class.
        dialect: What its server speaks; None is Kobold's own.
        root: What stands behind the origin in its `base_url`.
        model: One of which it claims all it can do.
        skips: Rules that cannot be asked of it.
        options: Further arguments.
    """

    kind: Callable[..., Provider]
    dialect: str | None
    root: str = ""
    model: str = "mock-model"
    skips: frozenset[str] = frozenset()
    options: Mapping[str, object] = field(default_factory=dict)


ROWS: Mapping[str, Row] = {
    "openai": Row(OpenAI, "openai", "/v1"),
    "azure": Row(Azure, "openai"),
    "anthropic": Row(Anthropic, "anthropic", model="claude-haiku-5-5"),
    "gemini": Row(Gemini, "gemini"),
    "ollama": Row(Ollama, "ollama"),
    "deepseek": Row(DeepSeek, "openai", skips=frozenset({"schema"})),
    "mistral": Row(Mistral, "openai", "/v1"),
    "openrouter": Row(OpenRouter, "openai", "/api/v1"),
    "xai": Row(XAI, "openai", "/v1"),
    "kobold": Row(Kobold, None, skips=frozenset({*NO_TOOLS, "schema", "unknown-model"})),
}


def maker(row: Row) -> Callable[[str], Provider]:
    """Makes the provider for an origin, with the canary as its key."""

    def at(origin: str) -> Provider:
        return row.kind(base_url=origin + row.root, api_key=SECRET, **row.options)

    return at


@pytest.mark.parametrize("name", ROWS)
def test_a_provider_over_http_keeps_every_rule(name: str) -> None:
    row = ROWS[name]
    at = maker(row)
    with echo_server(name, row.dialect) as origin:
        report = check_provider(lambda: at(origin), model=row.model, secret=SECRET, echoes=True, at=at)
    assert report.provider == name
    assert set(report.skipped) == row.skips


@pytest.mark.parametrize("model", ["auto", "summary", "keywords"])
def test_the_offline_provider_keeps_every_rule(model: str) -> None:
    report = check_provider(Offline, model=model)
    assert set(report.skipped) == {*NO_SERVER, *NO_TOOLS, "timeout", "secret"}


def test_the_echo_of_the_offline_provider_changes_nothing() -> None:
    report = check_provider(Offline, model="echo", echoes=True)
    assert "unicode" in report.passed


def test_every_built_in_provider_is_asked() -> None:
    assert set(registry._BUILT_IN) <= {*ROWS, "offline"}
