"""Publishing in tests that have no workers to keep back, or at times of their own choice."""

from models.database.rules.publications import newest_publication
from models.database.rules.publisher import Publisher
from models.state.fleet.fences import Fences


class NoFence:
    """Lets publications through at any time."""

    def raise_to(self, _revision):
        """As long ago as can be."""
        return 0


def publish(engine, document, **options):
    """Publish a document without telling any shard."""
    return Publisher(engine, NoFence()).publish(document, **options)


class PastFences:
    """Raises the fences, as if it had been done as long ago as can be."""

    def __init__(self, redis, shards):
        self._fences = Fences(redis, shards)

    def raise_to(self, revision):
        """As long ago as can be."""
        self._fences.raise_to(revision)
        return 0


def newest_revision(engine):
    """The number of the newest publication; 0 where there is none."""
    found = newest_publication(engine)
    return found.revision if found else 0


def leave_to_text(engine, revision):
    """Let a publication be one that is known by its text only, as a release before or after this one wrote it."""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE rule_publications SET goals = NULL WHERE revision = %s", (revision,))
