"""Scripts: where they are, what they say of themselves, and those that come with llmorch, as functions."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .find import ScriptNotFound, all_scripts, default_roots, find_script
    from .header import ScriptHeader, ScriptParameter, read_header
    from .identity import script_fingerprint_parts
    from .primitives.anova import anova
    from .primitives.chi_square import chi_square
    from .primitives.confirm_action import confirm_action
    from .primitives.correlation import correlation
    from .primitives.generate_topology import generate_topology
    from .primitives.get_user_input import get_user_input
    from .primitives.json_extract import json_extract
    from .primitives.mann_whitney import mann_whitney
    from .primitives.read_file import read_file
    from .primitives.replicate_n_times import replicate_n_times
    from .primitives.t_test import t_test
    from .primitives.write_file import write_file

__all__ = [
    "ScriptHeader",
    "ScriptNotFound",
    "ScriptParameter",
    "all_scripts",
    "anova",
    "chi_square",
    "confirm_action",
    "correlation",
    "default_roots",
    "find_script",
    "generate_topology",
    "get_user_input",
    "json_extract",
    "mann_whitney",
    "read_file",
    "read_header",
    "replicate_n_times",
    "script_fingerprint_parts",
    "t_test",
    "write_file",
]

_HOMES = {
    "ScriptHeader": "llmorch.scripts.header",
    "ScriptNotFound": "llmorch.scripts.find",
    "ScriptParameter": "llmorch.scripts.header",
    "all_scripts": "llmorch.scripts.find",
    "anova": "llmorch.scripts.primitives.anova",
    "chi_square": "llmorch.scripts.primitives.chi_square",
    "confirm_action": "llmorch.scripts.primitives.confirm_action",
    "correlation": "llmorch.scripts.primitives.correlation",
    "default_roots": "llmorch.scripts.find",
    "find_script": "llmorch.scripts.find",
    "generate_topology": "llmorch.scripts.primitives.generate_topology",
    "get_user_input": "llmorch.scripts.primitives.get_user_input",
    "json_extract": "llmorch.scripts.primitives.json_extract",
    "mann_whitney": "llmorch.scripts.primitives.mann_whitney",
    "read_file": "llmorch.scripts.primitives.read_file",
    "read_header": "llmorch.scripts.header",
    "replicate_n_times": "llmorch.scripts.primitives.replicate_n_times",
    "script_fingerprint_parts": "llmorch.scripts.identity",
    "t_test": "llmorch.scripts.primitives.t_test",
    "write_file": "llmorch.scripts.primitives.write_file",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
