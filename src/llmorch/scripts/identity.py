"""What determines a script's result, apart from what is bound to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..models.script import Script
from ..models.values import Data, to_data
from .find import find_script

__all__ = ["script_fingerprint_parts"]


def script_fingerprint_parts(script: Script, roots: Sequence[Path]) -> dict[str, Data]:
    """The hash of the file's bytes, the parameters, and the interpreter where one is named, as data.

    Where the file is and what it is called does not count, nor do the values of environment variables.

    Raises:
        ScriptNotFound: The file is not there.
        OSError: It cannot be read.
    """
    content = find_script(script.path_or_name, roots).read_bytes()
    parts: dict[str, Data] = {"bytes": hashlib.sha256(content).hexdigest()}
    if script.parameters:
        parts["parameters"] = to_data(script.parameters, where="parameters")
    if script.interpreter is not None:
        parts["interpreter"] = to_data(script.interpreter, where="interpreter")
    return parts
