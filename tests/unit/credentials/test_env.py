"""Keys come from the environment of the moment and never show themselves."""

from __future__ import annotations

import pytest

from llmorch import _redact
from llmorch.credentials import EnvironmentCredentials
from llmorch.errors import MissingCredential

KEY = "canary-env-5f3a9c"


def test_a_key_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvironmentCredentials()
    assert not source.has("LLMORCH_TEST_KEY")
    monkeypatch.setenv("LLMORCH_TEST_KEY", f" {KEY}\n")
    assert source.has("LLMORCH_TEST_KEY")
    secret = source.get("LLMORCH_TEST_KEY")
    assert secret.reveal() == KEY
    assert KEY not in repr(secret) + repr(source) + str(secret)
    assert KEY not in _redact.redact(f"the server said {KEY}")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_named_with_the_remedy(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("LLMORCH_TEST_KEY", value)
    with pytest.raises(MissingCredential, match=r"LLMORCH_TEST_KEY is not set; .*api_key="):
        EnvironmentCredentials().get("LLMORCH_TEST_KEY")
    assert not EnvironmentCredentials().has("LLMORCH_TEST_KEY")
