"""The machinery around the core: inbox, journal, dispatch, deadlines, recovery, supervised tasks, own metrics.

Belongs here: whatever makes a decision durable and carries it out once. Does not belong here: a decision (core/), or
the protocol of an outside system (handlers/), which is reached only through daemon.ports.
"""
