"""Is the process alive, and can it accept events?"""

from collections.abc import Callable, Mapping
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from models.errors import RetryableError

Check = Callable[[], None]
"""Returns when the dependency answers, else raises a RetryableError."""


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What stands behind the process."""

    status: Literal["ready", "degraded", "unavailable"] = Field(
        description="degraded: events are accepted, but something behind them is away; unavailable: none are accepted"
    )
    checks: dict[str, str] = Field(description="ok, or what is wrong, by dependency")


def health_router(needed: Mapping[str, Check], useful: Mapping[str, Check]) -> APIRouter:
    """``/healthz`` and ``/readyz``. Without what is ``needed`` no event can be accepted; ``useful`` may be away."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Is the process alive?")
    def healthz() -> Alive:
        return Alive()

    @router.get(
        "/readyz", summary="Can events be accepted?", responses={503: {"model": Readiness, "description": "Not now"}}
    )
    def readyz(response: Response) -> Readiness:
        checks = {name: _result(check) for name, check in {**needed, **useful}.items()}
        if any(checks[name] != "ok" for name in needed):
            response.status_code = 503
            return Readiness(status="unavailable", checks=checks)
        degraded = any(result != "ok" for result in checks.values())
        return Readiness(status="degraded" if degraded else "ready", checks=checks)

    return router


def _result(check: Check) -> str:
    try:
        check()
    except RetryableError as error:
        return str(error)
    return "ok"
