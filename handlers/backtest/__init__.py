"""Recordings of a cluster's past, and what Lastgood would have done: the very same core, in virtual time."""
