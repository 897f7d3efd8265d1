"""The command line: what a person types, and how the answer reads.

Belongs here: arguments, tables, exit codes, one-line errors with a remedy. Does not belong here: any judgement; a command
asks the running daemon through its socket, and the daemon journals who asked.
"""
