"""One HTTP call from a client command to the running product."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from cli.client.running import addresses, running_settings
from cli.client.trust import client_context
from config.settings import Settings
from models.errors import PermanentError, ReceiverUnavailableError

_TIMEOUT_SECONDS = 10


class Answer(NamedTuple):
    """What the product answered."""

    status: int
    body: Any
    """The JSON of the answer; its text where it is none."""

    @property
    def ok(self) -> bool:
        """The call did what it was for."""
        return self.status < 400

    def result(self, url: str) -> Any:
        """The body of an answer that did what it was for.

        Raises:
            ReceiverUnavailableError: the receiver says that it cannot now.
            PermanentError: it refused; the text holds its reason.
        """
        if self.ok:
            return self.body
        kind = ReceiverUnavailableError if self.status in {429, 503} else PermanentError
        hint = " (commands show the key in API_KEY)" if self.status in {401, 403} else ""
        raise kind(f"{url} answered {self.status}: {_detail(self.body)}{hint}")


def user_url(settings: Settings, user: str, tenant: str | None, what: str) -> str:
    """Where the running product answers for something of a user: ``progress`` or ``attributes``."""
    tenant = settings.tenant_or_default(tenant)
    return f"{addresses(settings)['http']}/v1/users/{in_path(user)}/{what}?tenant_id={in_path(tenant)}"


def in_path(text: str) -> str:
    """An id as one segment of a URL's path, whatever characters it holds."""
    return quote(text, safe="")


def key_headers(key: str | None) -> dict[str, str]:
    """The headers that show an API key, where there is one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def call(method: str, url: str, body: Any = None, *, key: str | None = None) -> Answer:
    """Make one HTTP request, with an API key where one is given.

    Raises:
        ReceiverUnavailableError: there was no answer.
    """
    return asyncio.run(_call(method, url, body, key_headers(key)))


async def _call(method: str, url: str, body: Any, headers: dict[str, str]) -> Answer:
    # encoded: yarl would otherwise decode what in_path has quoted.
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers, connector=_connector(url)) as session,
            session.request(method, URL(url, encoded=True), json=body) as response,
        ):
            text = await response.text()
            is_json = response.content_type.endswith("json")
            return Answer(response.status, await response.json(content_type=None) if is_json else text)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ReceiverUnavailableError(f"no answer from {url}: {_reason(error)}; is `questline up` running?") from error


def _connector(url: str) -> aiohttp.TCPConnector:
    trust = client_context(running_settings(Settings())) if url.startswith("https:") else None
    return aiohttp.TCPConnector(ssl=True if trust is None else trust)


def _detail(body: Any) -> str:
    return str(body.get("detail") or body.get("title") or body) if isinstance(body, dict) else str(body)[:200]


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
