"""Preflight: everything that must be there when it counts, looked at now for one workload. Reads only, journals nothing.

One module per part; `checks.run` runs them side by side within a limit. Every line says what was found and, unless that is
fine, what to do. The page for people is deploy/docs/preflight.md.
"""
