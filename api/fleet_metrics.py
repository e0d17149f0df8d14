"""What the fleet has agreed on and who is alive in it, as metrics."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from redis import Redis

from models.hot.installation import InstallationCopy
from models.hot.presence import Presence


def fleet_metrics(redis: Redis) -> Iterator[Metric]:
    """The installation's record, a change of it under way, and the processes alive.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    record = InstallationCopy(redis).read()
    values = {} if record is None else record.values
    told = {"installation_id": "" if record is None else record.installation_id}
    told |= {name.lower(): value for name, value in values.items()}
    info = GaugeMetricFamily("questline_installation_info", "The settings that all processes share", labels=[*told])
    if record is not None:
        info.add_metric([*told.values()], 1)
    yield info
    changing = 0 if record is None or record.change is None else 1
    yield GaugeMetricFamily(
        "questline_installation_changing", "Whether a change of the shared settings is under way", value=changing
    )
    processes = GaugeMetricFamily(
        "questline_processes", "Processes alive, and whether they agree", labels=["role", "release", "agrees"]
    )
    alive = Counter(
        (one.role, one.release, str(record is None or one.values == values).lower()) for one in Presence(redis).alive()
    )
    for labels, number in sorted(alive.items()):
        processes.add_metric(labels, number)
    yield processes
