"""What comes in: each module turns one system's messages into Events, and refuses what it cannot read.

Belongs here: parsing, authentication, the answer that tells the sender whether to try again. Does not belong here: any
judgement of what a message means for a rollout.
"""
