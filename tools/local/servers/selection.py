"""The servers of one run: those that settings name, else embedded ones."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from cli.client.data_folder import DataFolder
from cli.client.ports import LOOPBACK, listening_ports
from config.settings import Settings
from models.database.checks.suitability import require_suitable
from models.errors import ConfigurationError
from models.state.checks.requirements import redis_fault, redis_uses, waiting_for
from tools.local.programs import Program
from tools.local.servers.database_roles import ensure_database, postgres_fault
from tools.local.servers.embedded_postgres import EmbeddedPostgres, administrator_url, prepare_postgres
from tools.local.servers.embedded_redis import EmbeddedRedis, prepare_redis
from tools.local.unprivileged import SERVER_ENVIRONMENT


class ReadinessCheck(NamedTuple):
    """Whether a server answers."""

    label: str
    """The server, for people."""
    fault: Callable[[], str | None]
    """Why it cannot be used now; ``None`` where it answers."""
    patience_s: float


_GIVEN_PATIENCE_S = 15.0
_EMBEDDED_PATIENCE_S = 90.0
"""After a crash PostgreSQL first replays its log, and Redis reads its own."""


_STOP_WAIT_S = 10
"""A server writes what it holds when it stops: not to be cut off without need."""


class Servers:
    """Redis and PostgreSQL for one run, and the settings that reach them."""

    def __init__(self, given: Settings, data: DataFolder) -> None:
        """Prepare what is to be started; nothing runs yet.

        Raises:
            ConfigurationError: settings ask of the embedded servers what they cannot do.
            ServiceFailedError: a server is missing, or cannot open its data.
        """
        self._data = data
        self._redis: EmbeddedRedis | None = None
        self._postgres: EmbeddedPostgres | None = None
        found: dict[str, object] = {
            "questline_data_dir": data.path,
            "challenges_file": given.challenges_file.absolute(),
            "flower_password": given.flower_password or data.secret("flower_password"),
        }
        taken = {*listening_ports(given).values()}
        if given.broker_url is None and given.state_url is None:
            self._redis = prepare_redis(data, taken=taken, maxmemory=given.redis_maxmemory)
            found |= {"broker_url": self._redis.url, "state_url": self._redis.url}
        if given.db_host is None:
            if given.db_sslmode or given.db_sslrootcert:
                raise ConfigurationError("DB_SSLMODE, DB_SSLROOTCERT: the embedded PostgreSQL has no TLS; unset them")
            explicit = given.model_fields_set
            port = given.db_port if "db_port" in explicit else data.port("postgres", taken=taken)
            password = given.db_password if "db_password" in explicit else data.secret("db_password")
            self._postgres = prepare_postgres(data, port=port)
            found |= {"db_host": LOOPBACK, "db_port": port, "db_password": password}
        self.settings = given.model_copy(update=found)

    @property
    def programs(self) -> list[Program]:
        """What the supervisor has to run, in the order of starting."""
        programs = []
        if self._redis is not None:
            programs.append(Program("redis", self._redis.command, stop_wait_s=_STOP_WAIT_S, only=SERVER_ENVIRONMENT))
        if self._postgres is not None:
            server = self._postgres
            programs.append(
                Program(
                    "postgres",
                    server.command,
                    stop_signal=server.stop_signal,
                    stop_wait_s=_STOP_WAIT_S,
                    identity=server.identity,
                    folder=server.folder,
                    only=SERVER_ENVIRONMENT,
                )
            )
        return programs

    def readiness_checks(self) -> Iterator[ReadinessCheck]:
        """Each server with the question whether it answers, by the label shown to people."""
        if self._redis is None:
            for use in redis_uses(self.settings):
                yield ReadinessCheck(f"the Redis of {use.setting}", partial(waiting_for, use), _GIVEN_PATIENCE_S)
        else:
            url = self._redis.url
            yield ReadinessCheck(self._redis.server.label, partial(redis_fault, url), _EMBEDDED_PATIENCE_S)
        if self._postgres is not None:
            administrator = administrator_url(self._data, self._postgres.port)
            fault = partial(postgres_fault, administrator)
            yield ReadinessCheck(self._postgres.server.label, fault, _EMBEDDED_PATIENCE_S)
        else:
            fault = partial(postgres_fault, self.settings.database_url)
            setting = "DB_HOST" if self.settings.given_database_url is None else "DATABASE_URL"
            yield ReadinessCheck(f"the PostgreSQL of {setting}", fault, _GIVEN_PATIENCE_S)

    def complete(self) -> None:
        """Make the embedded database and its role where they are missing, or see that a given one can be used.

        Raises:
            ConfigurationError: it cannot be used as it is.
            DatabaseUnavailableError: it does not answer any more.
            ServiceFailedError: the embedded server refuses.
        """
        if self._postgres is not None:
            ensure_database(administrator_url(self._data, self._postgres.port), self.settings)
        require_suitable(self.settings)

    def environment(self) -> dict[str, str]:
        """The settings of this run as its programs read them."""
        told = self.settings.model_dump(
            mode="json",
            include={
                "db_host", "db_port", "db_name", "db_user", "db_password", "broker_url", "state_url",
                "flower_user", "flower_password", "questline_data_dir", "challenges_file",
            },
        )  # fmt: skip
        return {name.upper(): str(value) for name, value in told.items() if value is not None}
