"""A server that has forgotten the scripts (SCRIPT FLUSH, a restart, a replica that took over) costs nothing."""

import threading

import pytest
from redis.exceptions import ResponseError

from models.state.scripts import Script, ScriptCall, StateLock, call_all

ADD = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


def test_a_script_that_the_server_forgot_runs_once(redis):
    add = Script(redis, ADD)
    for expected in (2, 4, 6):
        redis.script_flush()
        assert add(keys=["sum"], args=[2]) == expected


def test_calls_in_one_round_trip_run_once_each_and_answer_in_their_order(redis):
    add, length = Script(redis, ADD), Script(redis, "return redis.call('STRLEN', KEYS[1])")
    redis.set("known", "12345")
    length(keys=["known"], args=[])  # so that the server knows one of the two
    replies = call_all(
        redis,
        [ScriptCall(add, ["a"], [1]), ScriptCall(length, ["known"], []), ScriptCall(add, ["b"], [2])],
    )
    assert replies == [1, 5, 2]
    assert call_all(redis, []) == []


def test_another_error_of_one_call_is_raised_and_the_others_are_made(redis):
    add = Script(redis, ADD)
    redis.set("text", "no number")
    with pytest.raises(ResponseError, match="not an integer"):
        call_all(redis, [ScriptCall(add, ["text"], [1]), ScriptCall(add, ["sum"], [1])])
    assert redis.get("sum") == b"1"


def test_a_lock_is_renewed_and_released_by_scripts_that_the_server_forgot(redis):
    lock = StateLock(redis, "lock", timeout=10, blocking=False)
    assert lock.acquire()
    for verb in (lock.reacquire, lock.release):
        redis.script_flush()
        verb()
    assert not redis.exists("lock")


def test_nothing_fails_while_scripts_are_flushed_all_the_time(stack, redis):
    """Everything from accepting to flushing, with a flush of the scripts in between whatever it does."""
    done = threading.Event()

    def forget():
        while not done.is_set():
            redis.script_flush()

    flood = threading.Thread(target=forget)
    flood.start()
    try:
        for number in range(60):
            stack.post(*(stack.event("login", f"u{user}", event_id=f"{number}-{user}") for user in range(5)))
            stack.flusher.flush()
    finally:
        done.set()
        flood.join()
    stack.flusher.flush()
    assert stack.count("events") == 300
    assert stack.count("dead_letters") == 0
    assert redis.hlen("ql:meters") == 0 or b"questline_retries_total" not in b" ".join(redis.hkeys("ql:meters"))
