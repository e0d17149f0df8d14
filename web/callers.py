"""The caller of a request, as the middleware that checks keys has noted it."""

from typing import Annotated

from fastapi import Depends, Request

from models.access import Caller as _Caller
from models.access import caller_noted


def _caller_of(request: Request) -> _Caller:
    return caller_noted(request.state)


Caller = Annotated[_Caller, Depends(_caller_of)]
"""A route's parameter: ``caller: Caller``, then ``caller.require("read", tenant_id)``."""
