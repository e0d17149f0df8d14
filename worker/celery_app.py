"""The Celery app: queues, schedule and settings, each argued where it stands."""

from datetime import timedelta

from celery import Celery
from kombu import Queue
from pydantic import SecretStr

import tasks.definitions as defined
from config.redis_urls import celery_address
from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, queue_for

SERIALIZER = "msgpack"


def make_app(settings: Settings) -> Celery:
    """The app of this installation; contacts no server."""
    # For logs; connections are made from the whole URL, which is a secret: tasks/broker/transport.py.
    app = Celery("questline", broker=celery_address(settings.broker), set_as_current=True)
    app.conf.update(_messages(settings), **_robustness(settings), beat_schedule=_schedule(settings))
    app.conf.beat_scheduler = "worker.scheduler:BoundedScheduler"
    app.finalize()
    return app


def _messages(settings: Settings) -> dict[str, object]:
    return {
        "task_queues": [Queue(queue_for(shard)) for shard in range(settings.shards)] + [Queue(MAINTENANCE_QUEUE)],
        "task_default_queue": MAINTENANCE_QUEUE,
        "task_create_missing_queues": False,
        # One serializer for tasks and remote control, never pickle: a batch is bytes, which msgpack carries as they
        # are. Events for Flower go another way: by publish and subscribe, to subscribers.
        "task_serializer": SERIALIZER,
        "event_serializer": "json",
        "accept_content": [SERIALIZER],
        "task_ignore_result": True,
        # Events cost more than the hot task itself; Flower sees the workers and all other tasks without them.
        "worker_send_task_events": True,
        "task_annotations": {defined.APPLY_EVENTS: {"send_events": settings.apply_task_events}},
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _robustness(settings: Settings) -> dict[str, object]:
    return {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A killed child repeats its task a few times. Not that of events: its streams give them again, and count.
        "task_retry_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # Of the children that apply batches. Celery ignores both in a pool of threads, as the maintenance worker has
        # it: a flush is bounded by the time limits of its connections (models/database, models/state).
        "task_time_limit": 60,
        "task_soft_time_limit": 45,
        "worker_max_tasks_per_child": 100_000,
        "worker_eta_task_limit": 1000,
        # None: a worker waits for its broker for as long as it takes.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "broker_transport": "tasks.broker.transport:Transport",
        "worker_consumer": "tasks.broker.consumer:Consumer",
        "broker_pool_limit": 10,
        "broker_pool_acquire_timeout": 5,
        # Batches take milliseconds and may be repeated: let them end when the broker blinks.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_transport_options": {
            "server": SecretStr(settings.broker),
            "state_server": SecretStr(settings.state),
            "retry_after": settings.journal_retry_after,
            "priority_steps": [0],
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 10,
            "health_check_interval": 10,
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            # A broker that hangs must not hold the receiver. Far above the second that a worker waits for a message.
            "socket_timeout": 10,
        },
    }


def _schedule(settings: Settings) -> dict[str, object]:
    schedule: dict[str, object] = {
        "flush": _every(settings.buffer_flush_interval, defined.FLUSH),
        "sweep": _every(settings.journal_sweep_interval, defined.SWEEP),
        "make-partitions": _every(timedelta(hours=1), defined.MAKE_PARTITIONS),
    }
    if settings.event_retention is not None:
        schedule["drop-partitions"] = _every(timedelta(hours=1), defined.DROP_PARTITIONS)
    return schedule


def _every(interval: timedelta, task: str) -> dict[str, object]:
    # A tick that was not taken in time is dropped: the next one does all its work.
    return {
        "task": task,
        "schedule": interval,
        "options": {
            "expires": max(5.0, 2 * interval.total_seconds()),
            "queue": MAINTENANCE_QUEUE,
            "ignore_result": True,
        },
    }
