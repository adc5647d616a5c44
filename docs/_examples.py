"""Shows the examples of docstrings as code: griffe knows `Examples:`, and takes `Example:` for a remark in prose."""

from __future__ import annotations

import re
from typing import Any

import griffe

_TITLE = re.compile(r"^( *)Example:$", re.MULTILINE)


class ExampleSections(griffe.Extension):
    """Gives every docstring with an example the title griffe looks for."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # Any: griffe's own, which differ by version
        if obj.docstring is not None:
            obj.docstring.value = _TITLE.sub(r"\1Examples:", obj.docstring.value)
