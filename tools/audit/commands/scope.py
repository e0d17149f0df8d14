"""Options of ``audit`` and ``reconcile`` that select users."""

from typing import Annotated

import typer

from config.settings import Settings
from tasks.audit.audit import Scope

User = Annotated[str | None, typer.Option(help="Look at this user only.")]
Tenant = Annotated[str | None, typer.Option(help="The user's tenant; AB_NAMESPACE or 'default' where not given.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Look at so many users, drawn at random.")]
Everyone = Annotated[bool, typer.Option("--all", help="Look at all users, which is what happens anyway.")]


def scope_of(settings: Settings, user: str | None, tenant: str | None, sample: int | None, *, everyone: bool) -> Scope:
    """The users that the options name.

    Raises:
        BadParameter: they contradict each other.
    """
    if tenant is not None and user is None:
        raise typer.BadParameter("goes with --user; without it all tenants are looked at", param_hint="--tenant")
    if (user is not None) + (sample is not None) + everyone > 1:
        raise typer.BadParameter("give one of --user, --sample and --all")
    return Scope(user=None if user is None else (settings.tenant_or_default(tenant), user), sample=sample)
