"""The caller of a request, as the middleware that checks keys has noted it."""

from typing import Annotated

from fastapi import Depends, Request

from models.access import ANYBODY
from models.access import Caller as _Caller


def caller_of(request: Request) -> _Caller:
    """Who makes this request; anybody where nothing checks keys."""
    found: _Caller = getattr(request.state, "caller", ANYBODY)
    return found


Caller = Annotated[_Caller, Depends(caller_of)]
"""A route's parameter: ``caller: Caller``, then ``caller.require("read", tenant_id)``."""
