"""The settings of the fleet and its live processes, as metrics."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric
from redis import Redis

from api.metrics.families import gauge, labelled_gauge
from models.declarations import metrics
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.presence import Presence


def fleet_metrics(redis: Redis) -> Iterator[Metric]:
    """The installation's record, a change of it under way, and the processes alive.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    record = InstallationCopy(redis).read()
    values = {} if record is None else record.values
    told = {"installation_id": "" if record is None else record.installation_id}
    told |= {name.lower(): value for name, value in values.items()}
    yield labelled_gauge(metrics.INSTALLATION, [] if record is None else [(tuple(told.values()), 1)], [*told])
    yield gauge(metrics.INSTALLATION_CHANGING, 0 if record is None or record.change is None else 1)
    alive = Presence(redis).alive()
    roles = sorted(Counter((one.role, one.release) for one in alive).items())
    yield labelled_gauge(metrics.PROCESSES, roles)
    yield gauge(metrics.PROCESSES_DIFFERING, sum(one.values != values for one in alive) if record is not None else 0)
