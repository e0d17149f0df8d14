"""A worker's takes follow what the last ones took, within bounds."""

from tasks.apply.pace import LEAST, MOST, TAKE_S, Pace


def test_slow_takes_make_the_next_ones_smaller_and_quick_ones_larger():
    pace = Pace(100_000)
    pace.note(TAKE_S * 1.25)
    assert pace.size == 80_000
    pace.note(TAKE_S * 0.8)
    assert pace.size == 100_000


def test_one_odd_take_changes_little_and_the_size_stays_within_bounds():
    pace = Pace(100_000)
    pace.note(30.0)
    assert pace.size == 50_000
    for _ in range(9):
        pace.note(30.0)
    assert pace.size == LEAST
    for _ in range(9):
        pace.note(0.0)
    assert pace.size == MOST
