"""The rules of a process, from PostgreSQL, in step with the fences in Redis."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache

import structlog
from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from models.database.connection import connect_database
from models.database.rules.publication_lock import stable_revision
from models.database.rules.publications import CompiledGoals, Newest, load, newest_publication
from models.database.rules.publisher import Document, Publisher, preview
from models.errors import ConfigurationError, StateUnavailableError
from models.rules.goals import Publications
from models.state.fleet.fences import Fences
from tasks.rules.costs import CostBound, cost_bound
from tasks.rules.publications import parse_stored

ANSWER_TIME = timedelta(seconds=2)
"""How long PostgreSQL may take for a question about rules. A worker waits for the answer when a fence asks for one."""

log = structlog.get_logger()


class RuleSource:
    """The rules of one installation. Safe to use from several threads."""

    def __init__(
        self, engine: Engine, fences: Fences, document: Document, now_us: Callable[[], int], bound: CostBound
    ) -> None:
        """``document``: the process' own challenges file; ``bound``: what it may cost."""
        self._engine, self._fences = engine, fences
        self._document, self._now_us, self._bound = document, now_us, bound
        self._parse = lru_cache(maxsize=256)(parse_stored)
        self._compiled: CompiledGoals = {}
        self._is_published = False
        self._refused = ""

    def newest(self) -> Newest:
        """The newest publication. The process' own file is published before, if it never was.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
            ConfigurationError: there is none.
        """
        if not self._is_published:
            self._publish_own()
        found = newest_publication(self._engine)
        if found is None:
            self._is_published = False
            raise ConfigurationError("PostgreSQL holds no publication of rules")
        return found

    def load(self) -> Publications:
        """All publications that events may still fall under.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
            ConfigurationError: there is none that can be read.
        """
        since_us = self._now_us() - self._bound.reach_us
        return load(self._engine, self._parse, since_us=since_us, compiled=self._compiled)

    def align_fences(self) -> None:
        """Put every fence to the newest publication that PostgreSQL has; waits for one that is under way.

        They are elsewhere where Redis lost them or went back in time, where a publisher died between fence and commit,
        and where PostgreSQL was restored.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
        """
        seen = self._fences.read()  # first: a later publication changes them, and they are left alone
        with stable_revision(self._engine) as revision:
            aligned = self._fences.align(seen, revision) if revision else 0
        if aligned:
            log.info("fences_aligned", shards=aligned, revision=revision)

    def _publish_own(self) -> None:
        try:
            self._publish_unseen()
        except ConfigurationError as error:  # what was published before holds on
            if str(error) != self._refused:  # where that is nothing, each look tries again
                log.error("rules_not_published", source=self._document.source, error=str(error))  # noqa: TRY400
            self._refused = str(error)
        except StateUnavailableError as error:  # as well, and the next look tries again
            log.warning("rules_not_published", source=self._document.source, error=str(error))
            return
        self._is_published = True

    def _publish_unseen(self) -> None:
        """Publish the file unless it was published at any time before; what was, whatever it costs, is not refused."""
        document, now_us = self._document, self._now_us()
        coming = preview(self._engine, document, now_us=now_us, only_if_unseen=True)
        if coming is None:
            return
        self._bound.require_after(self._engine, document.rulebook, coming, now_us=now_us)
        publisher = Publisher(self._engine, self._fences)
        done = publisher.publish(document, now_us=now_us, only_if_unseen=True)
        if done is not None:
            new = sum(goal.is_new for goal in done.goals)
            log.info("rules_published", revision=done.revision, active_from=done.active_from, new_versions=new)


def rule_source(settings: Settings, redis: Redis, document: Document, now_us: Callable[[], int]) -> RuleSource:
    """The rules of the installation that the settings name; contacts no server.

    It has a connection to PostgreSQL of its own, so that no other work delays it.
    """
    engine = connect_database(
        settings.database_url, application="questline-rules", pool_size=1, statement_timeout=ANSWER_TIME
    )
    return RuleSource(engine, Fences(redis, settings.shards), document, now_us, cost_bound(settings))
