"""A cluster of mock brokers that answers with errors on demand: librdkafka's own, from the wheel `confluent-kafka`.

https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h. It speaks the protocol over real sockets and
keeps nothing on disk: for faults that a real broker shows once a year, not for durability. Its producers are not
told apart, so a batch that is sent again after a lost answer is in the log twice.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.process import ServerMissingError

BROKERS = 3
PRODUCE, FETCH, OFFSET_COMMIT, JOIN, HEARTBEAT = 0, 1, 8, 11, 12
"""Request kinds, https://kafka.apache.org/protocol.html#protocol_api_keys."""

_PRODUCER = 0


class MockCluster:
    """Three brokers in threads of this process; `close` ends them. Raises ServerMissingError without the wheel."""

    def __init__(self) -> None:
        self._library = _library()
        error = ctypes.create_string_buffer(512)
        configuration = self._library.rd_kafka_conf_new()
        self._client = self._library.rd_kafka_new(_PRODUCER, configuration, error, len(error))
        assert self._client, error.value.decode()
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, BROKERS)
        # by itself the mock lets a first member wait for three seconds, and forgets one whose session is shorter
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(ctypes.c_void_p(self._cluster), 100)

    @property
    def servers(self) -> str:
        """Their addresses, separated by commas."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, topic: str, partitions: int) -> None:
        """With a copy on every broker."""
        self._do("topic_create", topic.encode(), partitions, BROKERS)

    def take_down(self, broker: int) -> None:
        """Close its connections and refuse new ones. Brokers are numbered from 1."""
        self._do("broker_set_down", broker)

    def bring_up(self, broker: int) -> None:
        """End what `take_down` began."""
        self._do("broker_set_up", broker)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Clients find out by an error on their next request."""
        self._do("partition_set_leader", topic.encode(), partition, broker)

    def move_coordinator(self, group: str, broker: int) -> None:
        """The group's members find out by an error on their next heartbeat."""
        self._do("coordinator_set", b"group", group.encode(), broker)

    def slow_down(self, broker: int, milliseconds: int) -> None:
        """Every answer of it takes that long."""
        self._do("broker_set_rtt", broker, milliseconds)

    def fail_next(self, request: int, errors: Sequence[int]) -> None:
        """Answer the next requests of a kind, to whichever broker, with these error codes, one after the other."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            ctypes.c_void_p(self._cluster), ctypes.c_int16(request), ctypes.c_size_t(len(errors)), codes
        )

    def close(self) -> None:
        """End the brokers and forget their logs."""
        self._library.rd_kafka_mock_cluster_destroy(ctypes.c_void_p(self._cluster))
        self._library.rd_kafka_destroy(ctypes.c_void_p(self._client))

    def _do(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, f"rd_kafka_mock_{name}")(ctypes.c_void_p(self._cluster), *arguments)
        assert code == 0, f"{name}: error {code}"


def _library() -> Any:
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise ServerMissingError("mock Kafka: the wheel confluent-kafka is not installed")
    libraries = Path(spec.origin).parent.parent / "confluent_kafka.libs"
    found = sorted(libraries.glob("librdkafka-*.so*"))
    if not found:
        raise ServerMissingError("mock Kafka: the wheel confluent-kafka of this system brings no librdkafka along")
    # the wheel's own extension first: it finds the libraries that librdkafka needs by their relative path
    importlib.import_module("confluent_kafka")
    library = ctypes.CDLL(str(found[0]))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library
