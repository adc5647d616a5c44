"""Prices and what calls cost."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from llmorch.pricing import FREE, Price, cost, price_of


def test_a_call_costs_its_input_and_output_per_million() -> None:
    assert cost(Price(2, 10), input_tokens=500_000, output_tokens=100_000) == Decimal("2")


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    price = Price(10, 0, cached=1, cache_write=20)
    amount = cost(price, input_tokens=1_000_000, output_tokens=0, cached_tokens=400_000, cache_write_tokens=100_000)
    assert amount == Decimal(5) + Decimal("0.4") + Decimal(2)


def test_without_a_price_of_their_own_cached_tokens_cost_as_much_as_others() -> None:
    whole = cost(Price(3, 1), input_tokens=900, output_tokens=7)
    assert cost(Price(3, 1), input_tokens=900, output_tokens=7, cached_tokens=500, cache_write_tokens=100) == whole


def test_more_cached_tokens_than_input_never_give_money_back() -> None:
    amount = cost(Price(10, 0, cached=1), input_tokens=10, output_tokens=0, cached_tokens=1_000_000)
    assert amount == Decimal(1)


def test_an_unknown_price_is_no_cost_and_not_zero() -> None:
    assert cost(None, input_tokens=1, output_tokens=1) is None


def test_a_float_price_means_what_it_says() -> None:
    assert Price(0.1, 0).input == Decimal("0.1")


@pytest.mark.parametrize("amount", [-1, -0.5, float("nan"), float("inf"), Decimal("NaN")])
def test_an_amount_that_is_no_price_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match="cached"):
        Price(1, 1, cached=amount)


@pytest.mark.parametrize("amount", ["1", True, None])
def test_an_amount_that_is_no_number_is_refused(amount: Any) -> None:
    with pytest.raises(TypeError, match="output"):
        Price(1, amount)


def test_prices_are_equal_by_content_and_cannot_change() -> None:
    assert Price(1, 2) == Price(Decimal(1), 2.0)
    assert len({Price(1, 2), Price(1, 2)}) == 1
    with pytest.raises(AttributeError):
        Price(1, 2).input = Decimal(0)  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    "model",
    ["openai:gpt-5-mini", "anthropic:claude-sonnet-4-5", "gemini:gemini-2.5-pro", "xai:grok-4", "azure:gpt-5-mini"],
)
def test_models_of_the_shipped_providers_have_list_prices(model: str) -> None:
    price = price_of(*model.split(":", 1))
    assert price is not None
    assert 0 < price.input < price.output


@pytest.mark.parametrize("model", ["openai:no-such-model", "my-own-server:gpt-5-mini", "ollama:qwen3"])
def test_a_model_the_table_does_not_know_has_no_price(model: str) -> None:
    assert price_of(*model.split(":", 1)) is None


def test_a_price_that_depends_on_the_prompt_is_its_lowest_tier() -> None:
    from genai_prices.data import providers

    google = next(provider for provider in providers if provider.id == "google")
    model = google.find_model("gemini-2.5-pro")
    assert model is not None
    tiers = model.prices.input_mtok  # type: ignore[union-attr]  # this model has one set of prices
    assert tiers.tiers[0].price > tiers.base
    price = price_of("gemini", "gemini-2.5-pro")
    assert price is not None
    assert price.input == tiers.base


def test_a_model_billed_per_request_too_has_no_price_in_tokens() -> None:
    from genai_prices.data import providers

    perplexity = next(provider for provider in providers if provider.id == "perplexity")
    model = perplexity.find_model("sonar")
    assert model is not None
    assert model.prices.requests_kcount  # type: ignore[union-attr]  # this model has one set of prices
    assert price_of("perplexity", "sonar") is None


def test_the_offline_provider_costs_nothing() -> None:
    assert price_of("offline", "anything") == FREE
    assert cost(FREE, input_tokens=10**6, output_tokens=10**6) == Decimal(0)


def test_importing_prices_loads_no_table_and_nothing_third_party() -> None:
    code = (
        "import sys; from llmorch.pricing import Price; print(*sorted({'genai_prices', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
