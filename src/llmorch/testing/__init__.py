"""What tests need: scripted answers, a virtual clock, and the conformance suites of providers, stores and libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .conformance import Checked as Checked
    from .conformance import Conformance as Conformance
    from .conformance import ConformanceFailed as ConformanceFailed
    from .conformance import check_provider as check_provider
    from .library_conformance import LibraryConformance as LibraryConformance
    from .library_conformance import check_library as check_library
    from .scripted import Reply as Reply
    from .scripted import ScriptedProvider as ScriptedProvider
    from .scripted import ScriptError as ScriptError
    from .store_conformance import StoreConformance as StoreConformance
    from .store_conformance import check_run_store as check_run_store
    from .virtual import ClockStuck as ClockStuck
    from .virtual import run_virtual as run_virtual
    from .virtual import virtual_clock_options as virtual_clock_options

__all__ = [
    "Checked",
    "ClockStuck",
    "Conformance",
    "ConformanceFailed",
    "LibraryConformance",
    "Reply",
    "ScriptError",
    "ScriptedProvider",
    "StoreConformance",
    "check_library",
    "check_provider",
    "check_run_store",
    "run_virtual",
    "virtual_clock_options",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Checked": "llmorch.testing.conformance",
        "Conformance": "llmorch.testing.conformance",
        "ConformanceFailed": "llmorch.testing.conformance",
        "check_provider": "llmorch.testing.conformance",
        "LibraryConformance": "llmorch.testing.library_conformance",
        "check_library": "llmorch.testing.library_conformance",
        "StoreConformance": "llmorch.testing.store_conformance",
        "check_run_store": "llmorch.testing.store_conformance",
        "ClockStuck": "llmorch.testing.virtual",
        "Reply": "llmorch.testing.scripted",
        "ScriptError": "llmorch.testing.scripted",
        "ScriptedProvider": "llmorch.testing.scripted",
        "run_virtual": "llmorch.testing.virtual",
        "virtual_clock_options": "llmorch.testing.virtual",
    },
)
