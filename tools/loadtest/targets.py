"""HTTP and gRPC behind one interface: a request in, an outcome out."""

import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self

import aiohttp
import grpc
import orjson

from cli.client.channels import Channel
from cli.client.messages import key_metadata
from tools.loadtest.requests import Request

_CALL_SECONDS = 30.0
_BUSY_SECONDS = 1.0
"""How long to wait where a refusal for overload does not say."""


class Outcome(NamedTuple):
    """What the receiver said to a request."""

    rejected: Mapping[int, str]
    """Codes by position within the request; every other event was accepted."""


class BusyError(Exception):
    """The receiver takes nothing for now."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"busy for {retry_after:g} s")
        self.retry_after = retry_after


class UnreachableError(Exception):
    """No answer, or none that says what became of the events: the same ids must be sent again."""


class Target(Protocol):
    """A receiver that is open for requests while the ``async with`` lasts."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def send(self, request: Request) -> Outcome:
        """Send one request once.

        Raises:
            BusyError: try again later.
            UnreachableError: try again; the first attempt may have been taken.
        """
        ...


class HttpTarget:
    """The receiver's HTTP side, with ``connections`` kept alive."""

    def __init__(
        self, url: str, connections: int, *, key: str | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        """``key`` is the API key that requests show; ``trust`` is for ``https``, else the system's authorities are."""
        self._trust = True if trust is None else trust
        self._url = url
        self._connections = connections
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self._url,
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._trust),
            timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
            headers={"Content-Type": "application/json", **self._headers},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Outcome:
        """See ``Target``."""
        try:
            async with self._session.post(request.path, data=request.body) as response:
                body = await response.read()
                return _read_answer(response.status, response.headers, body, len(request.events))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error


class GrpcTarget:
    """The receiver's gRPC side; all calls share one connection."""

    def __init__(self, to: str | Channel, *, key: str | None = None) -> None:
        """``to`` is an address, spoken to in plain text, or a channel; ``key`` is the API key that calls show."""
        self._to = Channel(to) if isinstance(to, str) else to
        self._metadata = key_metadata(key)

    async def __aenter__(self) -> Self:
        self._channel = self._to.open_async()
        self._methods: dict[str, Any] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)

    async def send(self, request: Request) -> Outcome:
        """See ``Target``."""
        method = self._methods.get(request.path)
        if method is None:
            # No serializers: the message is bytes already, and the empty answer is not looked at.
            method = self._methods[request.path] = self._channel.unary_unary(request.path, None, None)
        try:
            await method(request.body, timeout=_CALL_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            return _read_status(error)
        return Outcome({})


def _read_answer(status: int, headers: Mapping[str, str], body: bytes, events: int) -> Outcome:
    if status in {429, 503}:
        raise BusyError(_retry_after(headers))
    if status >= 500:
        raise UnreachableError(f"HTTP {status}")
    if status in {202, 422}:
        try:
            return Outcome({row["index"]: row["code"] for row in orjson.loads(body)["rejected"]})
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            if status == 202:
                raise UnreachableError("an answer that is none of ours") from error
    return Outcome(dict.fromkeys(range(events), f"http_{status}"))


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", _BUSY_SECONDS)))
    except ValueError:  # the header may also be a date
        return _BUSY_SECONDS


def _read_status(error: grpc.aio.AioRpcError) -> Outcome:
    code = error.code()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        metadata: Any = error.trailing_metadata()  # pairs, whatever its stub says
        said = {str(name).title(): str(value) for name, value in metadata or ()}
        raise BusyError(_retry_after(said))
    if code in _AMBIGUOUS:
        raise UnreachableError(code.name)
    return Outcome({0: f"grpc_{code.name.lower()}"})


_AMBIGUOUS = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
