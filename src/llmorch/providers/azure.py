"""Chat completions of Azure OpenAI (Microsoft Foundry).

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and .../openai/api-version-lifecycle (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..errors import BadRequest, ProviderError
from ..models.secret import Secret
from ..requests import Capabilities, ProviderStatus
from ._chat_dialect import ChatDialect, short_id
from ._chat_wire import ChatWire
from ._classify import Origin
from ._keys import KeySource
from ._openai_models import capabilities_of
from ._vendor import Home, Vendor

if TYPE_CHECKING:
    from ._http import Transport

__all__ = ["Azure"]

_HOSTS: Final = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_API_VERSION: Final = "2025-04-01-preview"
_VERSION: Final = re.compile(r"[A-Za-z0-9.-]+")


class Azure(Vendor):
    """Chat completions of an Azure OpenAI resource; the model of an id is the name of a deployment.

    `azure:my-gpt` asks the deployment `my-gpt`. What a deployment holds cannot be asked for with a key, so nothing is
    claimed of it unless `deployments` says which model it is.

    Args:
        base_url: The endpoint of the resource, such as `https://NAME.openai.azure.com`; with `/openai/v1` at its end,
            the v1 API is spoken, which needs no API version. There is no default.
        api_key: The key, or a function (sync or async) that gives a Microsoft Entra token before each call; the
            token goes out as a bearer token. Unset: the stored `AZURE_OPENAI_API_KEY`, which is sent to Azure's own
            hosts only, unless the credential lists another.
        api_version: Version of the API; default `2025-04-01-preview`, the last dated one, and none for v1.
        deployments: Deployment -> the OpenAI model it holds, which tells what it takes; the first is asked by
            `check(detailed=True)`.
        name: The part of a model id before the colon.
        headers: Sent with every request.
        transport: Used instead of the pooled connections.

    Raises:
        ValueError: `base_url` is missing or no http(s) address, or holds a password or a query; `api_version` is no
            version.

    Example:
        >>> azure = Azure(base_url="https://acme.openai.azure.com", deployments={"fast": "gpt-4.1-nano"})
        >>> azure
        Azure(name='azure', base_url='https://acme.openai.azure.com')
        >>> azure.capabilities("fast").max_output_tokens
        32768
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: KeySource | None = None,
        api_version: str | None = None,
        deployments: Mapping[str, str] | None = None,
        name: str = "azure",
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not base_url:
            raise ValueError(
                "Azure needs base_url=, the endpoint of your resource: it looks like 'https://NAME.openai.azure.com', "
                "or 'https://NAME.openai.azure.com/openai/v1' for the v1 API"
            )
        if api_version is not None and not _VERSION.fullmatch(api_version):
            raise ValueError(f"api_version={api_version!r} is no version; it looks like {_API_VERSION!r}")
        self._deployments = dict(deployments or {})
        is_token = api_key is not None and not isinstance(api_key, str | Secret)
        super().__init__(
            ChatWire(_dialect(base_url, api_version, is_token=is_token)),
            Home("AZURE_OPENAI_API_KEY", hosts=_HOSTS, probe=next(iter(self._deployments), "")),
            name=name,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            transport=transport,
        )

    def capabilities(self, model: str) -> Capabilities:
        """What the deployment takes, where `deployments` says what it holds; else nothing is claimed."""
        held = self._deployments.get(model)
        return Capabilities(images=True) if held is None else capabilities_of(held)

    def priced_as(self, model: str) -> str | None:
        """The model the deployment holds, where `deployments` says so."""
        held = self._deployments.get(model)
        return None if held is None else f"azure:{held}"

    async def models(self) -> list[str]:
        """The base models the resource may deploy, sorted; its deployments cannot be listed with a key.

        Raises:
            ProviderError: The classes of the error tree.
        """
        return await super().models()

    async def check(self, *, detailed: bool = False, model: str | None = None) -> ProviderStatus:
        """Whether the resource answers and takes the key.

        Args:
            detailed: Also ask a deployment for one token.
            model: The deployment to ask; unset: the first of `deployments`.
        """
        if not detailed or model or self._deployments:
            return await super().check(detailed=detailed, model=model)
        status = await super().check()
        listed = f"GET {self._wire.models_path}: {status.detail or 'base models listed'}"
        return replace(status, detail=f"{listed}\nno deployment to ask: name one with deployments=")

    async def _not_found(self, error: ProviderError, origin: Origin) -> ProviderError:
        return BadRequest(
            f"{error.message}; the model of an azure id is the name of a deployment, and deployments cannot be listed "
            "with a key: look it up in the portal",
            provider=error.provider,
            model=error.model,
            status=error.status,
        )


def _dialect(base_url: str, api_version: str | None, *, is_token: bool) -> ChatDialect:
    is_v1 = base_url.rstrip("/").endswith("/openai/v1")
    version = api_version or ("" if is_v1 else _API_VERSION)
    query = f"?api-version={version}" if version else ""
    before = "" if is_v1 else "/openai"
    return ChatDialect(
        chat_path=f"{before}{'' if is_v1 else '/deployments/{model}'}/chat/completions{query}",
        models_path=f"{before}/models{query}",
        key_header="" if is_token else "api-key",
        names={"max_tokens": "max_completion_tokens"},
        call_id=short_id,
    )
