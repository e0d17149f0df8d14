"""Redis URLs.

No fault that is found in one shows any of it: it may be a part of the password.

``redis://``, ``rediss://`` (TLS) and ``unix://`` name a server. ``sentinel://`` and ``sentinels://`` (TLS) name the
Sentinels that know which server is the master::

    sentinel://[user:password@]host[:port][,host[:port]...]/service[/database][?sentinel_password=...]

User and password are those of the Redis servers; those of the Sentinels stand in the query.
"""

from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator

_TLS = {"redis": False, "rediss": True, "unix": False, "sentinel": False, "sentinels": True}
_SENTINEL_PORT = 26379
_QUOTE = "in a password, write every character but letters, digits, '-' and '_' percent-encoded ('#' is %23)"
_SENTINEL_FORM = "names no service of the Sentinels: write sentinel://:PASSWORD@HOST:26379,HOST:26379/SERVICE/0"
_CA_FILE = "ssl_ca_certs"
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_OPTIONS = frozenset(
    {
        "db",
        "username",
        "password",
        "protocol",
        "client_name",
        "max_connections",
        "health_check_interval",
        "socket_timeout",
        "socket_connect_timeout",
        "socket_keepalive",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        _CA_FILE,
        "ssl_ca_path",
        "ssl_ca_data",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_password",
        "ssl_min_version",
        "ssl_ciphers",
        "ssl_include_verify_flags",
        "ssl_exclude_verify_flags",
    }
)
"""What may stand in the query. Others would change how calls are repeated or replies are read."""


class Sentinels(NamedTuple):
    """A URL of Sentinels in its parts."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    """The name under which they know the master."""
    username: str | None
    password: str | None
    """Those of the Sentinels themselves."""
    server_url: str
    """How their servers are reached, as a ``redis://`` or ``rediss://`` URL; its host means nothing."""


def check_redis_url(url: str) -> str:
    """The URL as it came.

    Raises:
        ValueError: no Redis can be reached by it.
    """
    # From None: the errors of urllib show what they could not read.
    try:
        parts = urlsplit(url)
        hosts = _hosts(parts.netloc)
    except ValueError:
        raise ValueError(f"is no URL: {_QUOTE}") from None
    if parts.scheme not in _TLS:
        raise ValueError("is no URL of a Redis, like redis://:PASSWORD@HOST:6379/0, rediss://… or sentinel://…")
    if parts.fragment or any(character.isspace() for character in url):
        raise ValueError(f"holds '#' or a space: {_QUOTE}")
    of_sentinels = parts.scheme.startswith("sentinel")
    if parts.scheme != "unix" and not (all(host for host, _ in hosts) and (of_sentinels or len(hosts) == 1)):
        raise ValueError(f"names no server: {_QUOTE}")
    if of_sentinels and not _is_service_path(parts.path):
        raise ValueError(_SENTINEL_FORM)
    _check_options(parts.query, _OPTIONS.union(_SENTINEL_OPTIONS) if of_sentinels else _OPTIONS)
    return url


def read_sentinels(url: str) -> Sentinels | None:
    """The parts of a checked URL of Sentinels; ``None`` where it names a server itself."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("sentinel"):
        return None
    service, _, database = parts.path.strip("/").partition("/")
    options = parse_qsl(parts.query)
    of_sentinels = {name: value for name, value in options if name in _SENTINEL_OPTIONS}
    of_servers = urlencode([option for option in options if option[0] not in of_sentinels])
    login, at, _ = parts.netloc.rpartition("@")
    server_url = urlunsplit((_server_scheme(parts.scheme), f"{login}{at}service", database, of_servers, ""))
    return Sentinels(
        hosts=tuple((host, port or _SENTINEL_PORT) for host, port in _hosts(parts.netloc)),
        service=unquote(service),
        username=of_sentinels.get("sentinel_username"),
        password=of_sentinels.get("sentinel_password"),
        server_url=server_url,
    )


def with_ca_file(url: str, ca_file: Path | None) -> str:
    """The URL with this CA file, where it speaks TLS and names none itself."""
    parts = urlsplit(url)
    if ca_file is None or not _TLS[parts.scheme] or _CA_FILE in dict(parse_qsl(parts.query)):
        return url
    named = f"{_CA_FILE}={quote(str(ca_file.absolute()))}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{named}" if parts.query else named))


def public_address(url: str) -> str:
    """The URL for logs and screens: without password and options."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}@{hosts}" if user else hosts, parts.path, "", ""))


def celery_address(url: str) -> str:
    """An address that Celery can read and show, without a secret; it connects by the URL itself."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    host, port = _hosts(parts.netloc)[0]
    address = f"[{host}]" if ":" in host else host or "localhost"
    database = parts.path.rpartition("/")[2]
    number = int(database) if database.isdecimal() else 0
    return f"redis://{f'{user}@' if user else ''}{address}{f':{port}' if port else ''}/{number}"


def without_login(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _server_scheme(scheme: str) -> str:
    return "rediss" if _TLS[scheme] else "redis"


def _hosts(netloc: str) -> list[tuple[str, int | None]]:
    """The hosts of an address with their ports; an empty name where none is written.

    Raises:
        ValueError: a port is none.
    """
    found = []
    for host in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{host}")
        if parts.port == 0:
            raise ValueError("a port")
        found.append((parts.hostname or "", parts.port))
    return found


def _is_service_path(path: str) -> bool:
    service, _, database = path.strip("/").partition("/")
    return bool(service) and (not database or database.isdecimal())


def _check_options(query: str, allowed: frozenset[str]) -> None:
    for name, _ in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            # Not by its name: where a password holds '?', the rest of it stands here.
            raise ValueError(f"has an option that is not known; known are {', '.join(sorted(allowed))}")


RedisUrl = Annotated[str, AfterValidator(check_redis_url)]
"""A setting that is a Redis URL."""
