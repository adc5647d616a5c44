"""The tests; `tests.` is importable so that they can share what they read the source tree with."""
