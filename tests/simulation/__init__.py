"""A whole world in one process on virtual time: the real daemon, everything around it, and all that may go wrong.

A seed draws a plan (what happens, and when), the plan is played, and after every step the invariants are asked. The same seed
gives the same steps. `python -m tests.simulation --help` runs many.
"""
