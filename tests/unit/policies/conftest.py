"""Waits for a limit take no time: both backends run on a clock that jumps."""

from __future__ import annotations

from typing import Any

import pytest

from llmorch.testing import virtual_clock_options


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Overrides the real-time fixture: a wait takes no time, and a test that is stuck ends."""
    return str(request.param), virtual_clock_options(str(request.param))
