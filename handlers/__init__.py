"""The outside world, one module per system: its wire format and its library's errors stop here.

Belongs here: intake (inbound/), effects and measurements (outbound/), the server and the Kubernetes client they share.
Does not belong here: a decision. Handlers do not import each other; what two of them need has a module of its own.
"""
