"""Tests. A folder is a level of realism: core (pure) < runtime, handlers (virtual time) < contract < e2e (real parts).

Belongs here: tests, the fakes they share, and captured input (golden/). A test's docstring is the claim it checks.
"""
