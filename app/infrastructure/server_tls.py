"""The certificate that our listener shows: TLS 1.2 or newer, read again when its files change."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from app.domain.exceptions import ConfigurationError
from app.telemetry import BACKGROUND_FAILURES, get_logger

CERT_SETTING, KEY_SETTING = "ENCORE_TLS_CERT_FILE", "ENCORE_TLS_KEY_FILE"
LOOK_SECONDS = 5.0
"""How often the files are looked at: a renewed certificate is shown within that time."""

log = get_logger(__name__)


class ServerCertificate:
    """A certificate with its chain, and its key: two PEM files. `context` is the one to listen with.

    Connections that are open keep the certificate they began with. A pair of files that do not belong together (one is
    renewed, the other not yet) leaves the last good pair in force.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        """Raises ConfigurationError naming the setting to blame."""
        self._cert_file, self._key_file = cert_file, key_file
        self._seen = self._look()
        self._newest = self.context = self._load()
        # Asked at the beginning of every handshake, with a server name or without: a whole pair, or the one before.
        self.context.sni_callback = self._choose

    def renew(self) -> bool:
        """Read the files if they have changed; True if there is a new pair. Blocking."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._newest = self._load()
        self._seen = seen
        return True

    async def follow(self, look_seconds: float = LOOK_SECONDS) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(look_seconds)
            try:
                if await asyncio.to_thread(self.renew):
                    log.info("certificate_renewed")
            except ConfigurationError as error:
                # Safe to go on: the last good pair is shown, and this is counted.
                BACKGROUND_FAILURES.labels("certificate").inc()
                log.warning("certificate_unusable", setting=error.setting, problem=error.problem)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(
            _stamp(path, setting) for path, setting in ((self._cert_file, CERT_SETTING), (self._key_file, KEY_SETTING))
        )

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password callback OpenSSL would ask at the terminal.
            context.load_cert_chain(self._cert_file, self._key_file, password=lambda: "")
        except ssl.SSLError as error:
            raise self._blame(error) from None
        except OSError as error:
            raise ConfigurationError(KEY_SETTING, f"cannot be read: {error.strerror}") from None
        return context

    def _blame(self, error: ssl.SSLError) -> ConfigurationError:
        if error.reason == "KEY_VALUES_MISMATCH":
            return ConfigurationError(KEY_SETTING, f"is not the key of {CERT_SETTING}")
        try:
            ssl.create_default_context(cafile=str(self._cert_file))
        except ssl.SSLError:
            return ConfigurationError(CERT_SETTING, "holds no certificate in PEM")
        return ConfigurationError(KEY_SETTING, "holds no key in PEM that can be read without a password")


def _stamp(path: Path, setting: str) -> tuple[int, int, int]:
    try:
        found = path.stat()
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(setting, f"cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_ino, found.st_size
