"""Bugs planted on purpose: `python -m tests.mutants` shows which test catches each."""
