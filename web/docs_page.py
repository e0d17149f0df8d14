"""The page that shows the API's description, with all its files from here.

The assets are those of Swagger UI as the package fastapi-offline brings them; its own code is not used.
"""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse

DOCS, ASSETS = "/docs", "/docs/assets/"
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_START = "start.js"
# Styles are set by scripts on elements, and its pictures are in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Questline API</title>
<link rel="stylesheet" href="{ASSETS}swagger-ui.css">
<link rel="icon" href="{ASSETS}favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{ASSETS}swagger-ui-bundle.js"></script>
<script src="{ASSETS}{_START}"></script>
</body>
</html>
"""
_SCRIPT = """window.onload = () => SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  layout: "BaseLayout",
});
"""


def docs_router() -> APIRouter:
    """The page and its assets; they are no part of the description."""
    router = APIRouter(include_in_schema=False)

    @router.get(DOCS)
    async def page() -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    @router.get("/redoc")
    async def other_page() -> Response:
        return RedirectResponse(DOCS)

    @router.get(ASSETS + "{name}")
    async def asset(name: str) -> Response:
        if name == _START:
            return _cached(_SCRIPT.encode(), "text/javascript")
        kind = _FILES.get(name)
        return Response(status_code=404) if kind is None else _cached(_asset(name), kind)

    return router


def _cached(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=3600"})


@cache
def _asset(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes()
