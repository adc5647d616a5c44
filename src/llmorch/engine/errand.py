"""What is settled about a payload before its first call: worked out once for all runs of an orchestrator."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .._clock import seconds
from ..errors import TemplateError
from ..models.message import Message, Role
from ..models.payload import Payload
from ..models.settings import Settings
from ..models.values import Data
from ..planner.catalog import ResolvedModel
from ..policies.limits import Limiter
from ..ports import Provider, ToolSpec
from .steps.output import output_spec
from .steps.tools import tool_specs

if TYPE_CHECKING:
    from .services import Services

__all__ = ["Aim", "Errand", "Errands"]

_Usual = tuple[Role, frozenset[str], Callable[[Mapping[str, Data]], str]]


@dataclass(slots=True)
class Aim:
    """One model, as a payload asks it.

    Attributes:
        keeps_time: The provider bounds each call itself.
        limiters: The rate limits a call of it stands under.
        settings: What is set, less what the model does not take.
        dropped: Names of what is set and it does not take, for people.
        schema: The output schema, where the model is told it in its own way.
        tools: What it may call, where it calls tools in its own way.
        schema_in_words: The output schema goes into the prompt.
        tools_in_words: Tools and their results are told in words.
    """

    model: ResolvedModel
    provider: Provider
    keeps_time: bool
    limiters: tuple[Limiter, ...]
    settings: Settings
    dropped: str
    schema: Mapping[str, Data] | None
    tools: tuple[ToolSpec, ...]
    schema_in_words: bool
    tools_in_words: bool


class Errand:
    """A payload as an orchestrator carries it out. It does not hold the payload, which is free to go.

    Attributes:
        specs: The tools as a provider is told of them.
        is_cached: Its answers are taken from the response cache and left there, for so many seconds (`ttl_s`; None is
            for good).
    """

    __slots__ = (
        "_aims", "_usual", "extra", "fallback", "is_cached", "max_tool_rounds", "model", "output", "output_retries",
        "retry", "services", "settings", "specs", "timeout_s", "tools", "ttl_s",
    )  # fmt: skip

    def __init__(self, payload: Payload[Any], services: Services) -> None:
        self.services = services
        self.output = output_spec(payload)
        self.model = payload.model
        self.fallback = payload.fallback
        self.tools = payload.tools
        self.specs = tool_specs(payload)
        self.max_tool_rounds = payload.max_tool_rounds
        self.output_retries = payload.output_retries
        self.retry = payload.retry or services.retry
        self.settings = payload.settings
        self.timeout_s = payload.timeout_s
        self.extra = payload.extra
        wish = payload.cache if payload.cache is not None else services.cache_all
        self.is_cached = wish is not False and services.cache is not None and not payload.tools  # tools have effects
        self.ttl_s = services.cache_ttl_s if isinstance(wish, bool) else seconds(wish)
        self._aims: dict[str, Aim] = {}
        self._usual = _usual_of(payload)

    def prompt(self, payload: Payload[Any], values: Mapping[str, Data]) -> tuple[Message, ...]:
        """The messages of the errand's payload for these values.

        Raises:
            TemplateError: A name has no value, or a template fails on these values.
        """
        if self._usual is None:
            return tuple(payload.render_data(values))
        role, variables, render = self._usual
        try:
            if values.keys() >= variables:
                return (Message.plain(role, render(values)),)
        except TemplateError:
            pass  # it is raised below, with the block's name
        return tuple(payload.render_data(values))

    def aim(self, model: str | None) -> Aim:
        """The model of that id, or the default, as this payload asks it.

        Raises:
            LookupError: It cannot be asked; the text says what to do.
        """
        found = self._aims.get(model) if model is not None else None  # what the default is may change
        if found is None:
            resolved = self.services.models.resolve(model)
            found = self._aims.get(resolved.id)
            if found is None:
                found = self._aims[resolved.id] = self._aimed(resolved)
        return found

    def _aimed(self, model: ResolvedModel) -> Aim:
        services, abilities, settings = self.services, model.capabilities, self.settings
        provider = services.models.provider(model.provider)
        dropped = sorted(abilities.unsupported & settings.given().keys())
        if dropped:
            settings = settings.model_copy(update={name: Settings.model_fields[name].default for name in dropped})
        is_native = abilities.json_schema and (abilities.schema_with_tools or not self.tools)
        return Aim(
            model,
            provider,
            keeps_time=getattr(provider, "keeps_time", False),
            limiters=services.limits.of(model.provider, model.id) if services.limits is not None else (),
            settings=settings,
            dropped=", ".join(dropped),
            schema=self.output.schema if is_native else None,
            tools=self.specs if abilities.tools else (),
            schema_in_words=not is_native and not self.output.is_text,
            tools_in_words=bool(self.tools) and not abilities.tools,
        )


def _usual_of(payload: Payload[Any]) -> _Usual | None:
    """Of a prompt of one block without defaults: who says it, what it reads, and what renders it."""
    if len(payload.blocks) != 1 or payload.history or payload.blocks[0].defaults:
        return None
    block = payload.blocks[0]
    return block.role, block.variables, block.template.render


class Errands:
    """The errands of one orchestrator, each kept as long as its payload is."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Payload[Any]], Errand]] = {}  # by identity: a hash would read all of it

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, payload: Payload[Any], services: Services) -> Errand:
        """The errand of a payload; `services` are the orchestrator's, always the same."""
        key = id(payload)
        kept = self._kept.get(key)
        if kept is not None and kept[0]() is payload:
            return kept[1]
        errand = Errand(payload, services)
        self._kept[key] = weakref.ref(payload, partial(self._forget, key)), errand
        return errand

    def _forget(self, key: int, gone: weakref.ref[Payload[Any]]) -> None:
        if key in self._kept and self._kept[key][0] is gone:  # else another payload has its place already
            del self._kept[key]
