"""One gRPC call on the server's side: its one message, read within a time.

Methods of one message are served as streams, which are the same on the wire: gRPC reads the message of a unary method
before it calls us, and waits for it as long as the connection stands.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from models.declarations.error_codes import EventCode

Context = aio.ServicerContext[Any, Any]
Answering = Callable[[Any, Context], Awaitable[Message | None]]
"""Answers a call; the first argument is gRPC's own reader of its messages, which nothing here uses."""


async def read_message(context: Context, patience: timedelta) -> Any:
    """The message of a call, by ``next_message``. The call is ended here where none comes in time."""
    try:
        async with asyncio.timeout(patience.total_seconds()):
            return await next_message(context)
    except TimeoutError:
        words = f"the message did not arrive within {patience.total_seconds():g} s"
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, words)


async def next_message(context: Context) -> Any:
    """The message of a call, whenever it comes. The call is ended here where its bytes are no message."""
    message = await context.read()
    if message is None or message is aio.EOF:  # type: ignore[attr-defined]  # its stub lacks EOF
        code = (("questline-code", EventCode.UNDECODABLE),)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no message of this method", code)
    return message


def one_answer(answering: Answering, kind: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method that reads one message of this kind, by ``read_message``, and returns one."""
    return grpc.stream_unary_rpc_method_handler(
        answering,
        request_deserializer=partial(_decoded, kind),
        response_serializer=_encoded,
    )


def many_answers(answering: Answering, kind: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    """A method that reads messages of this kind and writes its answers itself."""
    return grpc.stream_stream_rpc_method_handler(
        answering,
        request_deserializer=partial(_decoded, kind),
        response_serializer=_encoded,
    )


def _decoded(kind: type[Message], sent: bytes) -> Message | None:
    """The message; ``None`` for bytes that are none, which gRPC itself would call a fault of ours."""
    try:
        return kind.FromString(sent)
    except DecodeError:
        return None


def _encoded(message: Message) -> bytes:
    return message.SerializeToString()
