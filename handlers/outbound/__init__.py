"""What goes out: each module carries out one kind of Action against one system and returns its Outcome.

Belongs here: requests, retries as the vendor wants them, and a probe that tells after a crash whether it happened.
Does not belong here: whether it should happen.
"""
