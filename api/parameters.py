"""The parameters that routes about one user share."""

from typing import Annotated

from fastapi import Path, Query

from models.exact import PRINTABLE

UserId = Annotated[str, Path(min_length=1, max_length=256, pattern=PRINTABLE)]
"""As ``{user_id:path}``: a user id may hold any printable character, '/' too."""
TenantId = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="The user's tenant. Without it: that of the key, or `default` for a key of all tenants.",
    ),
]
