"""What every task of ours promises by its options."""

import re
from inspect import Parameter, signature

import pytest

from config.settings import Settings
from tasks import definitions
from tasks.definitions import APPLY_EVENTS, FLUSH, MAKE_PARTITIONS, SWEEP
from worker.celery_app import SERIALIZER, make_app


@pytest.fixture(scope="module")
def app():
    with make_app(Settings()) as app:
        yield app


@pytest.fixture(scope="module")
def tasks(app):
    return {name: task for name, task in app.tasks.items() if task.run.__module__ == definitions.__name__}


def test_every_task_has_a_declared_name(tasks):
    assert {APPLY_EVENTS, FLUSH, SWEEP, MAKE_PARTITIONS} <= set(tasks)
    assert [name for name in tasks if not re.fullmatch(r"questline\.[a-z_]+", name)] == []
    # A name made of the function's place would change when the function moves.
    assert [name for name, task in tasks.items() if name.startswith(task.__module__)] == []


def test_every_task_is_acknowledged_late_and_keeps_no_result(tasks):
    assert {(task.acks_late, task.ignore_result) for task in tasks.values()} == {(True, True)}
    # That of events is not put back: its streams give again what it did not acknowledge.
    assert {name for name, task in tasks.items() if not task.reject_on_worker_lost} == {APPLY_EVENTS}
    assert {name for name, task in tasks.items() if not task.retry_on_worker_lost} == {APPLY_EVENTS}


def test_every_task_takes_arguments_of_newer_senders(tasks):
    for name, task in tasks.items():
        kinds = {parameter.kind for parameter in signature(task.run).parameters.values()}
        assert Parameter.VAR_KEYWORD in kinds, name


def test_only_the_hot_task_is_silent(app, tasks):
    assert [name for name, task in tasks.items() if not task.send_events] == [APPLY_EVENTS]
    with make_app(Settings(apply_task_events=True)) as loud:
        assert all(task.send_events for name, task in loud.tasks.items() if name in tasks)


def test_one_serializer_is_accepted(app):
    assert set(app.conf.accept_content) == {SERIALIZER} == {app.conf.task_serializer}


def test_every_periodic_task_exists_and_gives_up_stale_ticks(app, tasks):
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in tasks
        assert entry["options"]["expires"] >= entry["schedule"].total_seconds()
