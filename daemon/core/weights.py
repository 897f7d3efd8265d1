"""What each term of a suspicion adds to its sum: one table, with the reasons."""

from __future__ import annotations

WEIGHTS = {
    # A pod that cannot start while its predecessor ran needs no statistics.
    "start_failure": 0.9,
    # Same minute, same load, other revision: the strongest evidence that metrics can give (blame.md).
    "contrast": 0.8,
    # The new pods answered, and then fell silent or began to restart, while the old ones go on: as good as a contrast, for
    # no metric of theirs is left to compare (blame.md: leaving this out costs a quarter of the F1).
    "silence": 0.8,
    # Of pods that were never heard the same holds where a balance of requests or those who call them show that they do no work.
    # Such as may only lack a scrape annotation: enough to ask a person.
    "unheard": 0.5,
    "restarts": 0.8,
    # It got worse at the rollout, but so may have everything else: half of a conviction.
    "before_after": 0.4,
    # "A deploy shortly before the alert" alone is right in a quarter to a half of the cases (blame.md: precision .23-.50). By
    # when it is felt, and halving in three minutes, it tells more: of faults that show only at others it names the culprit first
    # in 65 of 79 (generated, tune half, tidy); by the alert's onset, halving in ten minutes, at 0.4, in 40.
    "timing": 0.5,
    # Somebody who sees what no metric shows: enough to ask a person, never to act (the tier stays that of the timing).
    "declared": 0.9,
    # New and old serve side by side and the new one is fine: it takes back what timing alone would say.
    "exculpation": -0.5,
    # Old and new pods of it are bad alike: it suffers from something else, but the rollout may have come with it.
    "alike": -0.3,
    # Where it hurts is called by it or calls it: half of what a blame needs (`blame_threshold`), halved again with each call in
    # between. It makes a candidate; which of several it was, timing tells better.
    "graph": 0.15,
    # Per further place where it hurts and that it may have broken: what all share is likelier than what one has by itself. It
    # decides between equals: what lies deep in the call graph is shared by most, whatever it did.
    "explains": 0.02,
    # It changed with the rollout how often it asks others: half of a conviction, for a new feature asks as well.
    "fan_out": 0.4,
    # Two causes in the same ten minutes are rarer than one: who is blamed for the one is likelier to have caused the other.
    "accused": 0.2,
}
"""By the name of the term; a negative one speaks for the rollout."""
