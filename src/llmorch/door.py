"""The slot through which verbs on values reach the orchestrator, which stands on a much higher floor.

`Payload.run` lives on floor 2 and must run on floor 8. It asks `current()` for a runner; the top floor puts one in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["Runner", "current", "fill"]


class Runner(Protocol):
    """What a verb on a value needs of an orchestrator. Any: floor 0 knows no floor above it."""

    async def respond(self, payload: Any, values: Mapping[str, Any]) -> Any:
        """Run one payload and give its Response."""
        ...

    def respond_sync(self, payload: Any, values: Mapping[str, Any]) -> Any:
        """The same for code that is not async."""
        ...

    async def run(self, action: Any, values: Mapping[str, Any] | None) -> Any:
        """Run an action and give its Run."""
        ...

    def run_sync(self, action: Any, values: Mapping[str, Any] | None) -> Any:
        """The same for code that is not async."""
        ...

    def stream(self, action: Any, values: Mapping[str, Any] | None) -> Any:
        """Run an action and give its events."""
        ...

    def plan(self, action: Any, values: Mapping[str, Any] | None) -> Any:
        """Read an action without running it."""
        ...

    def diff(self, workflow: Any, run: Any, *, replace: Mapping[str, Any] | None) -> Any:
        """Compare a workflow with a run."""
        ...


_home = ""


def fill(home: str) -> None:
    """Say where the runner is found, as `module:function`; called once, by the top floor."""
    global _home
    _home = home


def current() -> Runner:
    """The runner of the moment: the default orchestrator of the running loop, or the sync door's."""
    module, _, name = _home.partition(":")
    opener: Callable[[], Runner] = getattr(importlib.import_module(module), name)
    return opener()
