"""URLs of a PostgreSQL as libpq reads them.

No fault found in one shows any of it: it may be of the password.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, get_args
from urllib.parse import parse_qsl, quote, unquote

from pydantic import AfterValidator, Field

Port = Annotated[int, Field(ge=1, le=65535)]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
"""libpq's values of ``sslmode``."""
_SCHEME = re.compile(r"postgres(?:ql)?://")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/]*)(?::(?P<port>[0-9]{1,5}))?")
_BAD_QUOTE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTE = "in a user or password, write every character but letters, digits, '-' and '_' percent-encoded ('@' is %40)"


class DatabaseAddress(NamedTuple):
    """What a URL names, decoded. Several hosts are one text, separated by commas, as libpq has them."""

    host: str
    port: int
    """Of the first host."""
    name: str
    user: str | None
    password: str | None
    query: Mapping[str, str]


def read_database_url(url: str) -> DatabaseAddress:
    """The parts of a URL.

    Raises:
        ValueError: no PostgreSQL can be reached by it.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("is no URL of a PostgreSQL, like postgresql://USER:PASSWORD@HOST:5432/NAME?sslmode=require")
    if re.search(r"[\s#]", url) or _BAD_QUOTE.search(url):
        raise ValueError(f"holds a space, '#' or a '%' that quotes nothing: {_QUOTE}")
    where, _, query = url[scheme.end() :].partition("?")
    servers, _, name = where.partition("/")
    credentials, _, hosts = servers.rpartition("@")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "@" in credentials or "/" in name:
        raise ValueError(f"cannot be read: {_QUOTE}")
    user, _, password = credentials.partition(":")
    host, port = _hosts(hosts)
    if not host and not options.get("host"):
        raise ValueError(f"names no server: {_QUOTE}")
    if not name and not options.get("dbname"):
        raise ValueError("names no database: it is the part behind the server, as in postgresql://HOST:5432/NAME")
    if options.get("sslmode") not in (None, *get_args(SslMode)):
        raise ValueError(f"has an sslmode that is none of {', '.join(get_args(SslMode))}")
    return DatabaseAddress(
        host or options["host"],
        port,
        unquote(name) or options["dbname"],
        unquote(user) or options.get("user"),
        unquote(password) or options.get("password"),
        options,
    )


def _hosts(text: str) -> tuple[str, int]:
    found = [_HOST.fullmatch(part) for part in text.split(",")]
    ports = [int(match["port"] or 5432) if match else 0 for match in found]
    if not all(0 < port < 65536 for port in ports):
        raise ValueError(f"names no server: {_QUOTE}")
    return ",".join(unquote(match["host"].strip("[]")) for match in found if match), ports[0]


def _checked(url: str) -> str:
    read_database_url(url)
    return url


DatabaseUrl = Annotated[str, AfterValidator(_checked)]
"""A setting that is the URL of a PostgreSQL."""


def database_url(address: DatabaseAddress) -> str:
    """The URL of an address with one host."""
    credentials = f"{quote(address.user or '', safe='')}:{quote(address.password or '', safe='')}"
    host = address.host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return with_options(
        f"postgresql://{credentials}@{host}:{address.port}/{quote(address.name, safe='')}", address.query
    )


def with_options(url: str, options: Mapping[str, str]) -> str:
    """The URL with these options behind those it has."""
    added = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())
    return f"{url}{'&' if '?' in url else '?'}{added}" if added else url
