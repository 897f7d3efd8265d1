"""How Python's garbage collector is kept from stopping the loop.

Nearly everything here is freed by its last reference. The collector looks for cycles, and to do so it walks through all
that lives: the caches of a large cluster and 20,000 alerts are millions of objects, and walking them takes longer than the
50 ms for which the loop may stand still. What is there when the daemon is ready stays, so it is left out.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 5000, 10, 1000
"""New objects per look at the youngest (a webhook makes a hundred that live until it is decided), and looks at one
generation per look at the next: the middle one walks 50,000 objects (10 ms), the oldest everything, so nearly never."""


def begin() -> None:
    """Look rarely. To be called when the process starts: most objects are made while the caches are filled."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def settle() -> None:
    """Leave out of all further looks what lives now. To be called when the daemon is ready.

    Without a clean-up before it, which would stop the loop for most of a second in a large cluster; a few cycles stay.
    """
    gc.freeze()
