"""Exact sums: a number as two integers, so that adding is order-free.

Floating-point addition depends on its order, and the engine's result must not (promise P3). An amount is a whole
number of billionths (fractions beyond nine decimals are rounded, each event on its own), split as
``high * 10**15 + low`` with ``0 <= low < 10**15``. Lua adds the halves and carries; a million events of the largest
accepted number stay exact.
"""

from decimal import ROUND_HALF_EVEN, Decimal

BASE = 10**15
_PER_UNIT = 10**9


def split(number: float) -> tuple[int, int]:
    """The two halves of a number of at most 2**53 in magnitude."""
    if isinstance(number, int):
        return divmod(number * _PER_UNIT, BASE)
    billionths = Decimal(repr(number)).scaleb(9).to_integral_value(ROUND_HALF_EVEN)
    return divmod(int(billionths), BASE)


def join(high: int, low: int) -> int | Decimal:
    """The number two halves stand for: an int when it is whole, else a Decimal."""
    units, fraction = divmod(int(high) * BASE + int(low), _PER_UNIT)
    return units + Decimal(fraction).scaleb(-9).normalize() if fraction else units
