"""How our clients know their servers: by name and by an authority, always; and how they show who they are.

A URL says it with `ca` (a PEM file with the authorities to believe; without it the system's), `cert` and `key` (PEM
files of our own certificate, where the server asks for one). There is no option that switches verification off.
"""

from __future__ import annotations

import ssl
from collections.abc import MutableMapping
from dataclasses import dataclass

from app.domain.exceptions import ConfigurationError

OPTIONS = ("ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; all None: the system's authorities, and nothing to show."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.cert, self.key))

    def context(self, setting: str) -> ssl.SSLContext:
        """TLS 1.2 or newer, name and chain verified. Raises ConfigurationError naming `setting`, never its value."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(setting, "`ca` names no file with certificates in PEM") from None
        if self.cert is not None:
            try:
                # Without a password callback OpenSSL would ask at the terminal.
                context.load_cert_chain(self.cert, self.key, password=lambda: "")
            except (OSError, ssl.SSLError):
                problem = "`cert` and `key` name no certificate and its key in PEM, without a password"
                raise ConfigurationError(setting, problem) from None
        return context


NO_FILES = TlsFiles()


def take_tls_files(options: MutableMapping[str, str], setting: str, *, is_tls: bool) -> TlsFiles:
    """Take our options out of those of a URL. Raises ConfigurationError where they cannot be meant."""
    files = TlsFiles(*(options.pop(name, None) or None for name in OPTIONS))
    if files and not is_tls:
        raise ConfigurationError(setting, "`ca`, `cert` and `key` are for connections by TLS: this is none")
    if (files.cert is None) != (files.key is None):
        raise ConfigurationError(setting, "`cert` and `key` belong together")
    return files
