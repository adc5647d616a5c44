"""The state of a run: a fold over its events, the same live and on resume."""
