"""Rolling back: one module per kind of workload, each a `Runner[RollBack]`."""
