"""Templates and expressions over plain data: hardened Jinja2, loaded at the first compile."""

from __future__ import annotations

from .template import Expression, Template, compile_expression, compile_template

__all__ = ["Expression", "Template", "compile_expression", "compile_template"]
