"""What is settled about a payload once for all runs of an orchestrator."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from llmorch import Block, Message, Payload
from llmorch.catalog import ModelCatalog
from llmorch.engine.errand import Errands
from llmorch.engine.places import Places
from llmorch.engine.services import Services
from llmorch.errors import TemplateError
from llmorch.models.values import Data
from llmorch.testing import ScriptedProvider

PROMPTS = {
    "one block": Payload("p", "Hello {{ who }}"),
    "another role": Payload("p", Block("rules", "Obey {{ who }}", role="system")),
    "defaults": Payload("p", Block("b", "{{ who }} and {{ other }}", defaults={"other": "Bob"})),
    "two blocks": Payload("p", Block("rules", "Be brief.", role="system"), "Hello {{ who }}"),
    "history": Payload("p", "Hello {{ who }}", history=[Message("user", "Hi"), Message("assistant", "Hello")]),
    "more than names": Payload("p", "{% if who %}Hello {{ who | length }}{% endif %}"),
}


def services() -> Services:
    catalog = ModelCatalog([ScriptedProvider({"*": "Hello"}, name="one")], model="one:a")
    return Services(catalog, Places(1), lambda: anyio.CapacityLimiter(1), Errands())


@pytest.mark.parametrize("payload", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("values", [{"who": "Ada"}, {"who": ["Ada", 1]}, {"who": "Zoë", "more": 1}])
def test_the_prompt_is_what_the_payload_renders(payload: Payload[Any], values: Mapping[str, Data]) -> None:
    found = services()
    assert found.errands.of(payload, found).prompt(payload, values) == tuple(payload.render_data(values))


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (Payload("p", Block("greeting", "Hello {{ who }}")), {}),
        (Payload("p", Block("greeting", "Hello {{ who.name }}")), {"who": {"nam": 1}}),
    ],
)
def test_what_cannot_be_rendered_names_the_block(payload: Payload[Any], values: Mapping[str, Data]) -> None:
    found = services()
    with pytest.raises(TemplateError, match="Block 'greeting'"):
        found.errands.of(payload, found).prompt(payload, values)


def test_a_payload_has_one_errand_as_long_as_it_lives() -> None:
    found = services()
    payload, equal = Payload("p", "Hello"), Payload("p", "Hello")
    errand = found.errands.of(payload, found)
    assert found.errands.of(payload, found) is errand
    assert found.errands.of(equal, found) is not errand
    assert len(found.errands) == 2
    del payload, equal
    gc.collect()
    assert len(found.errands) == 0


def test_a_model_is_aimed_at_once_and_the_default_is_asked_for_each_time() -> None:
    found = services()
    payload = Payload("p", "Hello", model="one:b")
    errand = found.errands.of(payload, found)
    assert errand.aim("one:b") is errand.aim("one:b")
    assert errand.aim(None).model.id == "one:a"
    assert isinstance(found.models, ModelCatalog)
    found.models.model = "one:c"
    assert errand.aim(None).model.id == "one:c"
