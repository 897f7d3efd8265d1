"""What surrounds the daemon: images, manifests, alert rules, user documentation, and the sandbox.

Only the sandbox is Python. Nothing here is part of the installed package.
"""
