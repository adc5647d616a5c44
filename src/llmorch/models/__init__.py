"""The values people write and read: blocks, payloads, messages, policies, usage, responses."""
