"""The clock of the state Redis, as workers ask for it."""

import pytest

from models.errors import StateUnavailableError
from models.state.clock import ASKED_EVERY, StateClock
from models.state.connection import connect_state


class Seconds:
    """A machine's count of seconds, which tests move."""

    now = 0.0

    def __call__(self):
        return self.now


def server_us(redis):
    seconds, microseconds = redis.time()
    return seconds * 1_000_000 + microseconds


def test_between_two_questions_the_seconds_of_this_machine_are_added(redis):
    seconds = Seconds()
    clock = StateClock(redis, seconds=seconds)
    before = server_us(redis)
    first = clock()
    assert before <= first <= server_us(redis)
    seconds.now = ASKED_EVERY - 1
    assert clock() == first + (ASKED_EVERY - 1) * 1_000_000
    seconds.now = ASKED_EVERY
    assert clock() <= server_us(redis)  # asked again


def test_a_redis_that_went_away_leaves_the_clock_going(redis, monkeypatch):
    seconds = Seconds()
    clock = StateClock(redis, seconds=seconds)
    first = clock()
    monkeypatch.setattr(clock, "_redis", connect_state("redis://127.0.0.1:1/0"))
    seconds.now = 3 * ASKED_EVERY
    assert clock() == first + 3 * ASKED_EVERY * 1_000_000


def test_a_redis_that_never_answered_has_no_clock():
    with pytest.raises(StateUnavailableError):
        StateClock(connect_state("redis://127.0.0.1:1/0"))()
