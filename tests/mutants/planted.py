"""All planted bugs: each is one small change that breaks one promise, and the tests that must notice."""

from __future__ import annotations

from tests.mutants.acting import ACTING
from tests.mutants.deciding import DECIDING
from tests.mutants.guarding import GUARDING
from tests.mutants.keeping import KEEPING

MUTANTS = (*GUARDING, *DECIDING, *ACTING, *KEEPING)
