"""What a script is given of this process's environment."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .. import _redact

__all__ = ["inherited"]

_ALWAYS = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LOGNAME",
        "NODE_PATH",
        "PATH",
        "PYTHONPATH",
        "RUBYLIB",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TEMP",
        "TERM",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)


def inherited(names: Iterable[str] = ()) -> dict[str, str]:
    """The variables that say where programs, libraries and temporary files are and how to write, and those named.

    Everything else, keys of providers above all, stays here. A named variable that is not set is left out. The values
    of the named ones are kept out of the texts of errors, since a script may print them.
    """
    named = set(names)
    for name in named:
        _redact.register(os.environ.get(name, ""), passing=True)
    return {
        name: value for name, value in os.environ.items() if name in _ALWAYS or name in named or name.startswith("LC_")
    }
