"""The command line: what a person types, and how the answer reads.

Belongs here: arguments, tables, exit codes, one-line errors with a remedy. Does not belong here: any judgement; a
command asks the running daemon through its socket, and the daemon journals who asked.

With `--json` every command prints the daemon's document as it is; its keys are those of `handlers/overview.py` (status,
incidents, verified), `handlers/explain.py` (explain) and `handlers/inbound/operators.py` (commands: command, actor,
done, why, changed). Keys stay; new ones may be added.
"""
