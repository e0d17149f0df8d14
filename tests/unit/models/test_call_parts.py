"""Work for a script cut into calls."""

from models.state.queue.call_parts import in_parts


def test_items_are_cut_by_weight_in_their_order():
    assert list(in_parts([3, 3, 3, 9, 1, 1], int, limit=6)) == [[3, 3], [3], [9], [1, 1]]


def test_nothing_makes_no_call():
    assert list(in_parts([], int)) == []


def test_what_fits_is_one_call():
    assert list(in_parts([1, 2], int)) == [[1, 2]]
