"""Follows a change of the number of shards without a pause of reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import structlog

from api.health.checks import Backlog
from api.health.path_probe import PathProbe, fingerprint_of
from config.settings import Settings
from config.shared_settings import shared_values
from ingest.group_commit import GroupCommitter
from models.fleet.installation import InstallationRecord
from models.state.queue.journal import Journal

log = structlog.get_logger()


class Sharded(Protocol):
    """A part that finds a user's shard at each call."""

    shards: int


@dataclass(frozen=True, slots=True)
class Follower:
    """All parts of a receiver that know how many shards there are."""

    settings: Settings
    journal: Journal
    committer: GroupCommitter
    backlog: Backlog
    probe: PathProbe
    services: Sequence[Sharded]

    def take_up(self, record: InstallationRecord) -> bool:
        """Go on by a changed record, if all that changed is the number of shards; tells whether it was.

        What a part does by the old number in between is refused by the fence in front of the journal.
        """
        here = shared_values(self.settings)
        if any(here.get(name) != value for name, value in record.values.items() if name != "SHARDS"):
            return False
        shards = int(record.values["SHARDS"])
        for part in (self.journal, self.committer, self.backlog):
            part.resize(shards)
        for service in self.services:
            service.shards = shards
        settings = self.settings.model_copy(update={"shards": shards})
        self.probe.resize(shards, fingerprint_of(settings, version("questline")))
        log.info("receiver_resized", shards=shards)
        return True
