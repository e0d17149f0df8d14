"""Tenants take turns, and each has a share of what is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from models.fairness import FairQueue, Shares
from models.wire import Limit


def taken(queue):
    return [queue.take() for _ in range(len(queue))]


def test_one_item_of_a_newcomer_waits_for_one_item_of_a_flood():
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put("loud", f"loud {number}", 1000)
    assert queue.take() == "loud 0"
    queue.put("quiet", "quiet", 10)
    assert [queue.take(), queue.take()] == ["quiet", "loud 1"]


def test_an_owner_that_always_has_one_item_does_not_keep_the_others_out():
    queue: FairQueue[str] = FairQueue()
    for _ in range(3):
        queue.put("many", "many")
    seen = []
    for _ in range(6):
        queue.put("one", "one")
        seen.append(queue.take())
    assert seen.count("many") == 3


def test_large_items_have_fewer_turns_than_small_ones():
    queue: FairQueue[str] = FairQueue()
    for _ in range(20):
        queue.put("large", "large", 4)
        queue.put("small", "small", 1)
    first = [queue.take() for _ in range(10)]
    assert first.count("small") == 8


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=40))
def test_items_of_an_owner_keep_their_order_and_none_is_lost(puts):
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, (owner, cost) in enumerate(puts):
        queue.put(owner, (owner, number), cost)
    out = taken(queue)
    assert sorted(number for _, number in out) == list(range(len(puts)))
    for owner in "abc":
        numbers = [number for one, number in out if one == owner]
        assert numbers == sorted(numbers)


def fill(shares, owner):
    """How much an owner can take by ones."""
    number = 0
    while not (shares.is_full(1) or shares.is_past_share(owner, 1)):
        shares.take(owner, 1)
        number += 1
    return number


def test_an_owner_that_is_alone_has_four_fifths_and_leaves_room_for_the_next():
    shares = Shares(1000)
    assert fill(shares, "loud") == 800
    assert fill(shares, "quiet") > 100


@given(st.integers(1, 12))
def test_however_many_owners_want_all_of_it_a_newcomer_finds_room(owners):
    shares = Shares(10_000)
    for _ in range(60):  # what they hold is used up, and they take again
        for owner in range(owners):
            fill(shares, f"loud {owner}")
            shares.give_back(f"loud {owner}", shares.of(f"loud {owner}") // 5)
    for owner in range(owners):
        fill(shares, f"loud {owner}")
    room = 10_000 // (1 + Limit.SHARE * owners)
    assert not shares.is_past_share("quiet", room // 2)
    assert not shares.is_full(room // 2)


def test_what_is_given_back_may_be_taken_again():
    shares = Shares(10)
    shares.take("a", 8)
    assert shares.is_past_share("a", 1)
    shares.give_back("a", 8)
    assert (shares.held, shares.is_past_share("a", 8)) == (0, False)
