"""Reads a frozen workflow before it runs: order, faults, estimate, pictures."""
