"""The caller of a request, as the middleware that checks keys has noted it."""

from typing import Annotated

from fastapi import Depends, Request

from models.access.callers import ANYBODY
from models.access.callers import Caller as _Caller


def caller_of(request: Request) -> _Caller:
    """The caller; ``ANYBODY`` where no key is checked."""
    caller: _Caller = getattr(request.state, "caller", ANYBODY)
    return caller


async def _caller_of(request: Request) -> _Caller:  # a coroutine: others would each need a thread
    return caller_of(request)


Caller = Annotated[_Caller, Depends(_caller_of)]
"""A route's parameter: ``caller: Caller``, then ``caller.require("read", tenant_id)``."""
