"""Quantities as the API server writes them back: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`.

After ``apimachinery/pkg/api/resource``: the value in the biggest unit of its kind (powers of 1000, or of 1024 from 1024 on) that
leaves a whole number.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_FORM = re.compile(r"([+-]?[0-9]*\.?[0-9]*)([numkMGTPE]?|[KMGTPE]i)")


def canonical(quantity: Any) -> Any:
    """The same amount as the server spells it; what is not understood (or is written with an exponent) stays."""
    found = _FORM.fullmatch(str(quantity))
    if found is None or not any(letter.isdigit() for letter in found[1]):
        return quantity
    number, unit = Fraction(found[1]), found[2]
    if unit.endswith("i"):
        amount = number * 1024 ** _BINARY.index(unit)
        if abs(amount) >= 1024:
            return _spelt(Fraction(math.ceil(amount)), _BINARY, 1024, smallest=0)
    else:
        amount = number * Fraction(1000) ** (_DECIMAL.index(unit) - _DECIMAL.index(""))
    return _spelt(amount, _DECIMAL, 1000, smallest=_DECIMAL.index(""))


def _spelt(amount: Fraction, units: tuple[str, ...], step: int, *, smallest: int) -> str:
    if not amount:
        return "0"
    for place in range(len(units) - 1, -1, -1):
        mantissa = amount / Fraction(step) ** (place - smallest)
        if mantissa.denominator == 1:
            return f"{mantissa.numerator}{units[place]}"
    return f"{math.ceil(amount / Fraction(step) ** -smallest)}{units[0]}"
