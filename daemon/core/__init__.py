"""The part that decides: pure functions over frozen values, the same answer for the same input, always.

Belongs here: the domain's values, guards, blame, the phase table, decide and evolve. Does not belong here: a clock
(`now` is an argument), chance, logging, I/O, any third-party package. Whoever needs one of these wants runtime/ or handlers/.
"""
