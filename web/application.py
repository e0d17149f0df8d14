"""The HTTP application: the routes of all folders, with what they share."""

from collections.abc import Sequence
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from web.addresses import AddressCheck, known_parameters
from web.authentication.middleware import Authenticator, install_authentication
from web.browser_headers import BrowserHeaders
from web.docs_page import docs_router
from web.openapi import install_openapi
from web.problems import install_problems


def make_application(
    routers: Sequence[APIRouter], authenticator: Authenticator | None = None, bodies: Sequence[type[BaseModel]] = ()
) -> FastAPI:
    """An application of these routes; without an authenticator it asks for no keys.

    ``bodies`` are the models of what handlers read themselves, for the description.
    """
    app = FastAPI(
        title="Questline",
        version=version("questline"),
        description="Events in, exact progress out.",
        dependencies=[Depends(known_parameters)],
        docs_url=None,  # its own pages load what they need from elsewhere
        redoc_url=None,
    )
    for router in (*routers, docs_router()):
        app.include_router(router)
    install_problems(app)
    app.add_middleware(AddressCheck)
    if authenticator is not None:
        install_authentication(app, authenticator)
    app.add_middleware(BrowserHeaders)  # outermost: refusals have them too
    install_openapi(app, bodies)
    return app
