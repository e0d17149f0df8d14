"""A step of Celery's consumer by which a worker is a member of its installation.

Threads and the forks of a worker's pool do not go together.
"""

from typing import Any

from celery import Celery, bootsteps

from models.installation.member import POLL_SECONDS, Member


def join_as_worker(app: Celery, member: Member) -> None:
    """Make a worker of this app look every second."""

    class Step(_MemberStep):
        """The step for this worker: Celery makes an instance of a class that it is given."""

        of = member

    app.steps["consumer"].add(Step)


class _MemberStep(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)
    of: Member
    _timer: Any = None

    def start(self, parent: Any) -> None:
        """Look for the first time, and then again and again; also after a lost connection."""
        self.of.poll()
        self._timer = parent.timer.call_repeatedly(POLL_SECONDS, self.of.poll)

    def stop(self, parent: Any) -> None:
        """Say that the worker ends, if it does, and not only connects again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parent.blueprint.state in {bootsteps.CLOSE, bootsteps.TERMINATE}:  # type: ignore[attr-defined]  # not in the stub
            self.of.leave()

    terminate = stop
