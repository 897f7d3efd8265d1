"""How Python's garbage collector is kept from stopping the loop.

Nearly everything here is freed by its last reference. The collector looks for cycles, and to do so it walks through all
that lives: the caches of a large cluster and 20,000 alerts are millions of objects, and walking them takes longer than the
50 ms for which the loop may stand still. What is there when the daemon is ready stays, so it is left out.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 20_000, 20, 100
"""New objects per look at the youngest (a webhook makes a hundred that live until it is decided), and looks at one
generation per look at the next."""


def settle() -> None:
    """Clean up once, then leave out of all further looks what lives now. To be called when the daemon is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
