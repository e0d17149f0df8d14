"""gRPC in: the two AccelByte Extend event services, with health and reflection.

A call brings one message and is answered OK once the journal has its event, or at once where its namespace is
not ours. The identity is the outer ``user_id`` and ``namespace``; those in the payload are not read, as the
system this replaces did not read them. A message without a namespace belongs to the tenant of the caller's key, which
is shown in the metadata ``authorization`` or ``x-api-key`` and is asked for before the message is read; health and
reflection ask for none.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from ingest.accelbyte import LOGIN_TOPIC, MESSAGE_NAMES, STATISTIC_TOPIC, AgsReader, AgsSignal
from ingest.grpc.calls import Context, one_answer, read_message
from ingest.grpc.health import SERVICE_NAME, GrpcHealth
from ingest.grpc.sockets import MAX_CALLS, MAX_OPEN_CALLS, OPTIONS, GrpcSockets
from ingest.grpc.unauthenticated import MAX_STREAMS, ConcurrencyLimiter, add_reflection
from ingest.pipeline import IngestPipeline
from ingest.protos import account_pb2, statistic_pb2
from ingest.validation import Fault, Window
from models.access.callers import ANYBODY, Caller
from models.declarations.error_codes import EventCode
from models.errors import (
    AccessDeniedError,
    JournalFullError,
    RateLimitedError,
    RetryableError,
    ServiceFailedError,
    UnauthenticatedError,
)
from models.events import Event
from models.fairness import Shares
from web.authentication.middleware import Authenticator, shown_in_metadata
from web.public_errors import public_message

LOGIN_SERVICE = account_pb2.DESCRIPTOR.services_by_name["UserAuthenticationUserLoggedInService"].full_name
STATISTIC_SERVICE = statistic_pb2.DESCRIPTOR.services_by_name["StatisticStatItemUpdatedService"].full_name


class GrpcReceiver:
    """The gRPC server over one ingest pipeline, for one running event loop; open without authenticator."""

    def __init__(
        self,
        pipeline: IngestPipeline,
        ags: AgsReader,
        authenticator: Authenticator | None = None,
        sockets: GrpcSockets | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._ags = ags
        self._authenticator = authenticator
        self._sockets = sockets or GrpcSockets()
        self._calls = Shares(MAX_CALLS)
        self._server = aio.server(options=(*OPTIONS, *self._sockets.options()), maximum_concurrent_rpcs=MAX_OPEN_CALLS)
        streams = ConcurrencyLimiter(MAX_STREAMS, self._sockets.stream_lifetime, late=grpc.StatusCode.UNAVAILABLE)
        self.health = GrpcHealth((LOGIN_SERVICE, STATISTIC_SERVICE), self._sockets.patience, streams)
        for service, method in (
            (LOGIN_SERVICE, one_answer(self.on_login, account_pb2.UserLoggedIn)),
            (STATISTIC_SERVICE, one_answer(self.on_statistic, statistic_pb2.StatItemUpdated)),
        ):
            handler = grpc.method_handlers_generic_handler(service, {"OnMessage": method})
            self._server.add_generic_rpc_handlers((handler,))
        self.health.add_to(self._server)
        add_reflection(self._server, (LOGIN_SERVICE, STATISTIC_SERVICE, SERVICE_NAME), streams)

    async def start(self, host: str, port: int) -> None:
        """Listen. The health service says NOT_SERVING until it is told otherwise: see ``GrpcHealth.follow``.

        Raises:
            ServiceFailedError: the port is taken, or the address is not ours.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._sockets.tls is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, grpc.ssl_server_credentials([self._sockets.tls]))
        except RuntimeError as error:
            raise ServiceFailedError(
                f"port {port} on {host} is already taken: free it, or set GRPC_PORT to another"
            ) from error
        await self._server.start()

    def finish(self) -> None:
        """Report NOT_SERVING, for balancers, and go on."""
        self.health.end()

    async def stop(self, grace: timedelta) -> None:
        """Take no more calls; those under way have ``grace`` to end."""
        self.finish()
        await self._server.stop(grace.total_seconds())

    async def on_login(self, _messages: Any, context: Context) -> Empty:
        """Take a login."""
        return await self._take(_LoginReader, context)

    async def on_statistic(self, _messages: Any, context: Context) -> Empty:
        """Take a statistic's new value."""
        return await self._take(_StatisticReader, context)

    async def _take(self, reader: "type[_MessageReader]", context: Context) -> Empty:
        caller = await self._caller(context)  # before the message: a caller without a key is not waited for
        async with self._share_of(caller, context):
            return await self._take_of(caller, reader, context)

    @asynccontextmanager
    async def _share_of(self, caller: Caller, context: Context) -> AsyncIterator[None]:
        """Count a call of a tenant, which is ended here where it is one too many. Without keys there are no shares."""
        owner = "" if caller is ANYBODY else caller.tenant_id
        if self._calls.is_full(1) or (owner and self._calls.is_past_share(owner, 1)):
            if self._authenticator is not None:
                self._authenticator.crowded_out()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls are under way, try again later")
        self._calls.take(owner, 1)
        try:
            yield
        finally:
            self._calls.give_back(owner, 1)

    async def _take_of(self, caller: Caller, reader: "type[_MessageReader]", context: Context) -> Empty:
        message = await read_message(context, self._sockets.patience)
        tenant = message.namespace or caller.own_tenant
        try:
            caller.require("ingest", tenant)
            receipt = await self._pipeline.take(
                [message], reader(self._ags, tenant), caller=caller, size=message.ByteSize()
            )
        except AccessDeniedError as error:
            if self._authenticator is not None:
                self._authenticator.denied()
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except JournalFullError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except RateLimitedError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), _wait(error))
        except RetryableError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, public_message(error))
        if receipt.rejected:
            code = (("questline-code", receipt.rejected[0].code),)
            words = "; ".join(refusal.message for refusal in receipt.rejected)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, words, code)
        return Empty()

    async def _caller(self, context: Context) -> Caller:
        """The caller; the call is ended here where its key is not valid."""
        if self._authenticator is None:
            return ANYBODY
        try:
            return self._authenticator.admit(shown_in_metadata(context.invocation_metadata()))
        except UnauthenticatedError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except RateLimitedError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), _wait(error))
        except RetryableError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, public_message(error))


@dataclass(frozen=True, slots=True)
class _MessageReader:
    """Reads the messages of one method, which belong to a tenant."""

    ags: AgsReader
    tenant: str
    id_field: ClassVar[str] = "id"

    def read(self, item: Any, window: Window) -> Event | list[Fault] | None:
        """See ``ingest.pipeline.ItemReader``."""
        raise NotImplementedError


class _LoginReader(_MessageReader):
    def read(self, item: account_pb2.UserLoggedIn, window: Window) -> Event | list[Fault] | None:
        if not item.user_id:
            return [Fault(EventCode.EMPTY, "userId", "cannot be empty")]
        return self.ags.read_signal(_signal(LOGIN_TOPIC, item, self.tenant), window, MESSAGE_NAMES)


class _StatisticReader(_MessageReader):
    def read(self, item: statistic_pb2.StatItemUpdated, window: Window) -> Event | list[Fault] | None:
        if not item.user_id:
            return [Fault(EventCode.EMPTY, "userId", "cannot be empty")]
        if not item.HasField("payload"):
            return [Fault(EventCode.MISSING_FIELD, "payload", "cannot be nil")]
        if not item.payload.stat_code:
            return [Fault(EventCode.EMPTY, "statCode", "cannot be empty")]
        signal = _signal(STATISTIC_TOPIC, item, self.tenant)._replace(
            stat_code=item.payload.stat_code,
            value=_whole(item.payload.latest_value),
            increment=_whole(item.payload.inc),
        )
        return self.ags.read_signal(signal, window, MESSAGE_NAMES)


def _wait(error: RateLimitedError) -> tuple[tuple[str, str], ...]:
    """When to try again: for people, and for gRPC clients that retry by themselves."""
    seconds = error.retry_after
    return (("retry-after", str(seconds)), ("grpc-retry-pushback-ms", str(seconds * 1000)))


def _signal(kind: str, message: account_pb2.UserLoggedIn | statistic_pb2.StatItemUpdated, tenant: str) -> AgsSignal:
    return AgsSignal(
        kind=kind,
        event_id=message.id,
        namespace=tenant,
        user_id=message.user_id,
        timestamp=message.timestamp,
        content=message.SerializeToString(deterministic=True),
    )


def _whole(number: float) -> float:
    """An integral double as an integer: protobuf carries it unrounded, so 2^53 itself is no rounding here."""
    return int(number) if number.is_integer() else number
