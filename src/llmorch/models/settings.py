"""Sampling settings of a call; None always means unset."""

from __future__ import annotations

from pydantic import Field

from .base import Value

__all__ = ["Settings"]


class Settings(Value):
    """What is set for a call; providers send only these fields.

    Example:
        >>> Settings(temperature=0).given()
        {'temperature': 0.0}
    """

    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stop: tuple[str, ...] = Field(default=(), strict=False)
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def given(self) -> dict[str, object]:
        """Only the fields that are set, by name."""
        return {name: value for name, value in self if value is not None and value != ()}
