"""What the fleet has agreed on and who is alive in it, as metrics."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from redis import Redis

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
    info = GaugeMetricFamily("questline_installation_info", "The settings that all processes share", labels=[*told])
    if record is not None:
        info.add_metric([*told.values()], 1)
    yield info
    changing = 0 if record is None or record.change is None else 1
    yield GaugeMetricFamily(
        "questline_installation_changing", "Whether a change of the shared settings is under way", value=changing
    )
    alive = Presence(redis).alive()
    roles = GaugeMetricFamily("questline_processes", "Processes alive", labels=["role", "release"])
    for labels, number in sorted(Counter((one.role, one.release) for one in alive).items()):
        roles.add_metric(labels, number)
    yield roles
    differing = sum(one.values != values for one in alive) if record is not None else 0
    text = "Processes alive that go by other shared settings than the installation"
    yield GaugeMetricFamily("questline_processes_differing", text, value=differing)
