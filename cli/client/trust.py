"""TLS of our own client commands: the certificates they trust.

Commands speak to the product of their own settings. Where those name TLS_CERT, or a running ``questline up`` does, that
is TLS, and the one certificate at the head of that file is trusted, under whatever name the server is called: commands
run beside it and call it 127.0.0.1, which certificates seldom name.
"""

import ssl
from pathlib import Path

from config.settings import Settings
from models.errors import ConfigurationError

_END = "-----END CERTIFICATE-----"


def client_context(settings: Settings) -> ssl.SSLContext | None:
    """For HTTPS; ``None`` where the product speaks plain text.

    Raises:
        ConfigurationError: TLS_CERT holds no certificate, or cannot be read.
    """
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The name says nothing that the one certificate we trust does not say.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=server_certificate(settings.tls_cert))
    return context


def server_certificate(chain: Path) -> str:
    """The server's own certificate in PEM: the first of its chain. The others vouch for more than this server.

    Raises:
        ConfigurationError: the file holds no certificate, or cannot be read.
    """
    try:
        text = chain.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"TLS_CERT: {chain} cannot be read: {error}") from error
    if _END not in text:
        raise ConfigurationError(f"TLS_CERT: {chain} holds no certificate in PEM")
    return text[: text.index(_END) + len(_END)] + "\n"
