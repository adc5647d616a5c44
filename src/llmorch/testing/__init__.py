"""What tests of workflows need: scripted answers and a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .scripted import Reply as Reply
    from .scripted import ScriptedProvider as ScriptedProvider
    from .scripted import ScriptError as ScriptError
    from .virtual import ClockStuck as ClockStuck
    from .virtual import run_virtual as run_virtual
    from .virtual import virtual_clock_options as virtual_clock_options

__all__ = ["ClockStuck", "Reply", "ScriptError", "ScriptedProvider", "run_virtual", "virtual_clock_options"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ClockStuck": "llmorch.testing.virtual",
        "Reply": "llmorch.testing.scripted",
        "ScriptError": "llmorch.testing.scripted",
        "ScriptedProvider": "llmorch.testing.scripted",
        "run_virtual": "llmorch.testing.virtual",
        "virtual_clock_options": "llmorch.testing.virtual",
    },
)
