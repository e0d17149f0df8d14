"""TLS on our own sockets: the certificate, checked before anything listens."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from config.settings import Settings
from models.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key, both PEM files that belong together."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A server's context: TLS 1.2 or newer.

        Raises:
            ConfigurationError: a file cannot be read, is no PEM, or the two do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.chain, self.key, password=_no_password)
        except ssl.SSLError as error:
            raise ConfigurationError(self._fault(error)) from error
        except OSError as error:
            raise ConfigurationError(f"TLS_CERT, TLS_KEY: {error.strerror}") from error
        return context

    def pem(self) -> tuple[bytes, bytes]:
        """The key and the chain as gRPC takes them. They were read before, so they can be read."""
        return self.key.read_bytes(), self.chain.read_bytes()

    def _fault(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"TLS_KEY: {self.key} is not the key of the certificate in TLS_CERT, {self.chain}"
        return f"TLS_CERT, TLS_KEY: {self.chain} and {self.key} must be a certificate chain and its key in PEM"


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate of the settings, checked; ``None`` where TLS is not asked for.

    Raises:
        ConfigurationError: only one of the two is set, or they cannot be used; one line that names the setting.
    """
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        missing = "TLS_CERT" if settings.tls_cert is None else "TLS_KEY"
        raise ConfigurationError(f"{missing}: not set; TLS needs both TLS_CERT and TLS_KEY")
    for name, path in (("TLS_CERT", settings.tls_cert), ("TLS_KEY", settings.tls_key)):
        _require_file(name, path)
    certificate = Certificate(settings.tls_cert, settings.tls_key)
    certificate.context()
    return certificate


def _require_file(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigurationError(f"{name}: {path}: {error.strerror}") from error


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal for the password of an encrypted key, and wait."""
    raise ConfigurationError("TLS_KEY: the key is encrypted; give it without a password, readable by its owner only")
