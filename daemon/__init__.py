"""Lastgood's own part: what decides (core), what keeps it running (runtime), what people type (cli).

Belongs here: decisions, the journal, the loop around them, and the Protocols through which the outside is reached
(ports). Does not belong here: anything that speaks to an outside system (handlers/) or reads settings (config/).
Imports go down only: __main__ > cli > app > runtime > ports > config > core.
"""
