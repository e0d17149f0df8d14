"""Is the process alive, and can it accept events?"""

import asyncio
from threading import Event
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.health.readiness import OK, ReadinessProbe


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What stands behind the process."""

    status: Literal["ready", "degraded", "unavailable"] = Field(
        description="degraded: events are accepted, but something behind them is away; unavailable: none are accepted"
    )
    checks: dict[str, str] = Field(description="ok, or what is wrong, by dependency")


def health_router(readiness: ReadinessProbe, *, stopping: Event | None = None) -> APIRouter:
    """``/healthz`` and ``/readyz``. A process with ``stopping`` set is alive, but sends new work elsewhere."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Alive:  # on the loop itself: neither a thread nor a server is asked
        return Alive()

    @router.get(
        "/readyz", summary="Can events be accepted?", responses={503: {"model": Readiness, "description": "Not now"}}
    )
    async def readyz(response: Response) -> Readiness:
        if stopping is not None and stopping.is_set():
            response.status_code = 503
            return Readiness(status="unavailable", checks={"process": "stopping"})
        # Not in the threads that requests share: those may all be waiting for what this is to tell of.
        answers = await asyncio.to_thread(readiness.answers)
        if not readiness.can_accept(answers):
            response.status_code = 503
            return Readiness(status="unavailable", checks=answers)
        degraded = any(answer != OK for answer in answers.values())
        return Readiness(status="degraded" if degraded else "ready", checks=answers)

    return router
