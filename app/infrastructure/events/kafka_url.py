"""kafka[+ssl]://[user:password@]host:port[,host:port…][?security=…&mechanism=…&ca=…&cert=…&key=…] as the driver's own
options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from app.domain.exceptions import ConfigurationError
from app.infrastructure.client_tls import take_tls_files

SETTING = "ENCORE_EVENTS_URL"
PROTOCOLS = frozenset({"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"})
MECHANISMS = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where the brokers are and how to log in; `options` go to every client as they are. Never shown: has secrets."""

    servers: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict, repr=False)

    def client_options(self) -> dict[str, object]:
        return {"bootstrap_servers": list(self.servers), **self.options}


def parse_kafka_url(url: str) -> KafkaAddress:
    """Raises ConfigurationError naming the setting, never its value."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    servers = tuple(host for host in hosts.split(",") if host)
    if not servers or not all(_has_port(server) for server in servers):
        raise ConfigurationError(SETTING, "needs host:port, several separated by commas")
    return KafkaAddress(servers, {**_login_options(login, parts)})


def _has_port(server: str) -> bool:
    host, _, port = server.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65_536


def _login_options(login: str, parts: SplitResult) -> dict[str, object]:
    query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    default = ("SASL_" if login else "") + ("SSL" if parts.scheme == "kafka+ssl" else "PLAINTEXT")
    protocol = query.pop("security", default)
    mechanism = query.pop("mechanism", "SCRAM-SHA-512")
    files = take_tls_files(query, SETTING, is_tls=protocol.endswith("SSL"))
    if query or protocol not in PROTOCOLS or mechanism not in MECHANISMS:
        raise ConfigurationError(SETTING, "takes security, mechanism (Kafka's own values), ca, cert and key only")
    options: dict[str, object] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        options["ssl_context"] = files.context(SETTING)
    if protocol.startswith("SASL"):
        user, _, password = login.partition(":")
        options |= {"sasl_mechanism": mechanism, "sasl_plain_username": unquote(user)}
        options["sasl_plain_password"] = unquote(password)
    return options
