"""Models by id: their providers, capabilities and prices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from .config.environment import MODEL_VARIABLE, default_model
from .credentials import EnvironmentCredentials
from .models.usage import Usage
from .planner.catalog import ResolvedModel
from .ports import CredentialSource, Provider
from .pricing import Price, cost, price_of
from .providers import registry

__all__ = ["ModelCatalog"]


class ModelCatalog:
    """Finds models for the planner and providers for the engine.

    Args:
        providers: Those made by the caller; the rest come from the registry by name.
        model: The default model's id.
        prices: Model id -> price, before the bundled table.
        credentials: Where keys of providers from the registry come from; default the environment.
    """

    def __init__(
        self,
        providers: Iterable[Provider] | Mapping[str, Provider] = (),
        *,
        model: str | None = None,
        prices: Mapping[str, Price] | None = None,
        credentials: CredentialSource | None = None,
    ) -> None:
        self.model = model
        self._providers: dict[str, Provider] = _by_name(providers)
        self._prices = dict(prices or {})
        self._credentials = credentials or EnvironmentCredentials()
        self._resolved: dict[str, ResolvedModel] = {}
        for provider in self._providers.values():
            self._introduce(provider)

    def _introduce(self, provider: Provider) -> None:
        use: Any = getattr(provider, "use_credentials", None)  # Any: an optional method of the port
        if use is not None:
            use(self._credentials)

    def resolve(self, model: str | None) -> ResolvedModel:
        """The model of that id, or the default for None.

        Raises:
            LookupError: No default, no such provider, or no key for it; the text says what to do.
        """
        wanted = model or self.model or default_model()
        if wanted is None:
            raise LookupError(self._no_model())
        found = self._resolved.get(wanted)
        if found is None:
            found = self._resolved[wanted] = self._looked_up(wanted)
        return found

    def _looked_up(self, wanted: str) -> ResolvedModel:
        name, colon, model = wanted.partition(":")
        if not colon or not name or not model:
            raise LookupError(f"{wanted!r} is no model id; write 'provider:model', such as 'openai:gpt-5-mini'")
        provider = self.provider(name)
        missing: Any = getattr(provider, "missing_credential", None)  # Any: an optional method of the port
        variable = missing() if missing is not None else None
        if variable is not None:
            raise LookupError(
                f"{wanted!r} needs a key: set {variable}, or give Orchestrator(providers=[...]) one with api_key="
            )
        try:
            capabilities = provider.capabilities(model)
        except Exception as error:  # a plugin may raise anything; planning tells it as a fault
            raise LookupError(f"provider {name!r} cannot tell what {model!r} can do: {error}") from error
        priced_as: Any = getattr(provider, "priced_as", None)  # Any: as above
        listed = (priced_as(model) if priced_as is not None else None) or wanted
        price = self._prices.get(wanted) or price_of(*listed.split(":", 1))
        return ResolvedModel(wanted, name, model, capabilities, price)

    def _no_model(self) -> str:
        ready = [name for name in registry.names() if name != "offline" and self._has_key(name)]
        keys = f"providers whose keys are set: {', '.join(ready)}" if ready else "no provider's key is set"
        return (
            f"no model is named; give the payload model='provider:model', Orchestrator(model=...) or {MODEL_VARIABLE} "
            f"({keys}; 'offline:auto' needs none and is no LLM)"
        )

    def _has_key(self, name: str) -> bool:
        try:
            provider: Any = self.provider(name)
        except LookupError:
            return False  # one that needs more than a key
        missing = getattr(provider, "missing_credential", None)
        return bool(getattr(provider, "needs_key", True)) and (missing is None or missing() is None)

    def provider(self, name: str) -> Provider:
        """The provider of that name, made from the registry when it is first asked for.

        Raises:
            LookupError: There is none.
        """
        found = self._providers.get(name)
        if found is None:
            found = self._made(name)
            self._introduce(found)
            self._providers[name] = found
        return found

    def _made(self, name: str) -> Provider:
        try:
            return registry.create(name)
        except LookupError:
            own = [known for known in self._providers if registry.find(known) is None]
            near = difflib.get_close_matches(name, own, 1, 0.7)
            if not near or registry.find(name) is not None:
                raise
            raise LookupError(
                f"there is no provider named {name!r}; did you mean {near[0]!r}? This orchestrator was given "
                f"{', '.join(own)}"
            ) from None

    def names(self) -> list[str]:
        """Every provider that can be asked: those given and those known by name."""
        return sorted({*self._providers, *registry.names()})

    def cost(self, model: ResolvedModel, usage: Usage) -> Decimal | None:
        """US dollars for this usage, or None when the price is unknown."""
        if model.price is None:
            return None
        return cost(
            model.price,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )

    async def aclose(self) -> None:
        """Close every provider that can be closed."""
        for provider in self._providers.values():
            close: Any = getattr(provider, "aclose", None)  # Any: an optional method of the port
            if close is not None:
                await close()


def _by_name(providers: Iterable[Provider] | Mapping[str, Provider]) -> dict[str, Provider]:
    """The providers by the names they are asked by.

    Raises:
        TypeError: One is a name or a class.
        ValueError: Two have one name.
    """
    if isinstance(providers, Mapping):
        named = list(cast("Mapping[str, Provider]", providers).items())
    else:
        given = list(providers)
        named = [(provider if isinstance(provider, str) else provider.name, provider) for provider in given]
    found: dict[str, Provider] = {}
    for name, provider in named:
        if isinstance(provider, str):
            raise TypeError(
                f"providers=[{provider!r}] takes instances; name it in the model id instead: '{provider}:...'"
            )
        if isinstance(provider, type):
            raise TypeError(f"providers: {provider.__name__} is a class; write {provider.__name__}(...)")
        if name in found:
            raise ValueError(f"two providers are named {name!r}; give one of them another name with name=")
        found[name] = provider
    return found
