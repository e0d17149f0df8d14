"""Callers and their rights.

Knows neither keys nor transports: a caller is made where a key was checked.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

from models.errors import AccessDeniedError

Scope = Literal["ingest", "read", "admin"]
ALL_TENANTS = "*"
_DEFAULT_TENANT = "default"
_LONGEST_TENANT = 64


class Refused(StrEnum):
    """Why a caller may not make a request; the values label a metric."""

    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"
    TENANT_BUSY = "tenant_busy"
    QUOTA_EXCEEDED = "quota_exceeded"


class Caller(NamedTuple):
    """The sender of a request."""

    key_id: str | None
    """The key that was shown; None where the installation has no keys and takes every request on loopback."""
    tenant_id: str
    """The tenant the caller belongs to, or ``ALL_TENANTS``."""
    scope: Scope
    """``ingest`` sends events, ``read`` reads, ``admin`` does both and whatever operators do, in its tenant."""

    @property
    def own_tenant(self) -> str:
        """The tenant that is meant where none is named: the caller's, ``default`` for an operator of all."""
        return _DEFAULT_TENANT if self.tenant_id == ALL_TENANTS else self.tenant_id

    def may(self, scope: Scope, tenant_id: str) -> bool:
        """Whether the caller may do this in a tenant."""
        return self.scope in (scope, "admin") and self.tenant_id in (tenant_id, ALL_TENANTS)

    def require(self, scope: Scope, tenant_id: str) -> None:
        """Let the caller do this in a tenant.

        Raises:
            AccessDeniedError: it may not; the text tells nothing of the tenant's data.
        """
        if not self.may(scope, tenant_id):
            # Said before anything is looked up: the answer is the same whether the tenant exists or not.
            shown = tenant_id[:_LONGEST_TENANT]
            raise AccessDeniedError(f"this key does not have the scope {scope} in tenant {shown}")


ANYBODY = Caller(None, ALL_TENANTS, "admin")
"""Every caller of an installation without keys, which listens on loopback only."""
