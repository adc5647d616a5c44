"""The provider keeps every rule of llmorch's conformance suite, and those of its own wire format."""

from __future__ import annotations

import json

import pytest
from fake_server import fake_server
from llmorch_provider_template import LlamaCpp
from llmorch_provider_template.wire import error_in, response_of

from llmorch.errors import ProviderUnavailable
from llmorch.testing import check_provider

KEY = "canary-of-the-template"


def test_the_provider_conforms() -> None:
    def at(url: str) -> LlamaCpp:
        return LlamaCpp(base_url=url, api_key=KEY)

    with fake_server() as url:
        report = check_provider(lambda: at(url), secret=KEY, echoes=True, at=at)
    print(report)
    assert set(report.skipped) == {"tools", "tool-rounds", "unknown-model"}


def test_an_error_in_the_middle_of_a_stream_has_its_class() -> None:
    event = {"error": {"code": 503, "message": f"slot lost, Bearer {KEY}", "type": "unavailable_error"}}
    error = error_in(event, json.dumps(event).encode(), key=KEY)
    assert isinstance(error, ProviderUnavailable)
    assert "slot lost" in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("stop_type", "reason"),
    [("eos", "stop"), ("word", "stop"), ("limit", "length"), ("none", "other"), (None, "other")],
)
def test_why_an_answer_ended_is_said_in_llmorch_s_words(stop_type: object, reason: str) -> None:
    assert response_of({"stop_type": stop_type}, "x", "tiny").finish_reason == reason


@pytest.mark.parametrize("count", [None, -1, 1.5, "7", True])
def test_counts_that_are_not_credible_are_left_to_the_engine(count: object) -> None:
    assert response_of({"tokens_evaluated": count, "tokens_predicted": 5}, "x", "tiny").usage is None
