"""What llmorch costs, beside the raw floor of the same run: `python -m benchmarks`."""
