"""The scripts that come with llmorch: each file is a function for Python and a program for workflows."""
