"""What stands around a call: retries and fallback."""
