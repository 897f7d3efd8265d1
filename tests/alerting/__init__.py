"""What watches Lastgood and what brings it alerts: rules, Alertmanager's configuration, the dashboard.

Belongs here: files of `deploy/` that other programs read, held against those programs (promtool, amtool) and against the
metrics that the daemon really has. Not here: the daemon's own behaviour.
"""
