"""Providers are found by name: the built-in ones, then those that packages register."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from llmorch.ports import Provider
from llmorch.providers import Offline, OpenAI, registry


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entries = [
        EntryPoint("acme", "llmorch.providers.offline:Offline", registry.GROUP),
        EntryPoint("openai", "llmorch.providers.offline:Offline", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == registry.GROUP else [])
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


@pytest.mark.parametrize(("name", "kind"), [("openai", OpenAI), ("offline", Offline)])
def test_a_built_in_provider_is_made_by_name(name: str, kind: type[Provider]) -> None:
    made = registry.create(name)
    assert isinstance(made, kind)
    assert isinstance(made, Provider)
    assert made.name == name


def test_a_package_adds_a_provider(installed: None) -> None:
    assert isinstance(registry.create("acme"), Offline)
    built_in = "anthropic azure deepseek gemini kobold mistral offline ollama openai openrouter xai"
    assert registry.names() == ["acme", *built_in.split()]


def test_a_package_cannot_take_a_built_in_name(installed: None) -> None:
    assert isinstance(registry.create("openai"), OpenAI)


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    assert registry.nearest("opnai") == "openai"
    assert registry.find("opnai") is None
    with pytest.raises(LookupError, match="did you mean 'openai'"):
        registry.create("opnai")
