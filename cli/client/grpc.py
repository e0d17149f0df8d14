"""One gRPC call from a client command to the running product."""

import grpc

from cli.client.channels import Channel
from cli.client.messages import grpc_message, key_metadata
from models.errors import PermanentError, ReceiverUnavailableError
from models.events import Event

_TIMEOUT_SECONDS = 10
_RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_FOR_KEYS = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def send_event(to: Channel, event: Event, *, key: str | None = None) -> None:
    """Send a login or a statistic to the AccelByte services; returns once the journal has it.

    The metadata shows ``key``, where one is given.

    Raises:
        ReceiverUnavailableError: there was no answer, or the receiver takes nothing for now.
        PermanentError: the receiver refused the event.
    """
    method, message = grpc_message(event)
    with to.open() as channel:
        try:
            channel.unary_unary(method, None, None)(message, timeout=_TIMEOUT_SECONDS, metadata=key_metadata(key))
        except grpc.RpcError as error:
            said = f"{to.address} answered {error.code().name}: {error.details()}"
            if error.code() in _RETRYABLE:
                raise ReceiverUnavailableError(said) from error
            hint = " (commands show the key in API_KEY)" if error.code() in _FOR_KEYS else ""
            raise PermanentError(said + hint) from error
