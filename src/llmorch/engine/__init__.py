"""Runs a compiled workflow: an event log, its fold, and an executor that reacts to both."""
