"""aiokafka's clients without the ends it leaves open when its caller is cancelled or its broker is silent.

The driver (0.14) forgets the connection it bootstraps by when it is cancelled while it waits for metadata, opens
connections for tasks that outlive `close`, and is left half open by a `stop` that is cut short.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup, log
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerClosed
from aiokafka.protocol.metadata import MetadataRequest

from app.infrastructure.uninterrupted import ended

_END_SECONDS = 2.0
"""For tasks of the driver that were cancelled already."""


class Client(AIOKafkaClient):  # type: ignore[misc]  # the driver has no types
    """The driver's client: what it opened is closed, whenever it is cancelled; closed, it opens nothing more."""

    is_closed = False
    _sync_task: asyncio.Task[None] | None

    async def bootstrap(self) -> None:
        for host, port, _family in self.hosts:
            connection = None
            try:
                connection = await self._connected(host, port)
                self.cluster.update_metadata(await connection.send(MetadataRequest([])))
            except (OSError, KafkaError, TimeoutError) as exc:
                log.warning("bootstrap by %s:%s failed: %s", host, port, type(exc).__name__)
                _close(connection)
                continue
            except BaseException:
                _close(connection)
                raise
            self._keep_if_needed(connection)
            if self._sync_task is None:
                self._sync_task = asyncio.create_task(self._md_synchronizer())
            return
        raise KafkaConnectionError("no broker could be reached")

    async def _connected(self, host: str, port: int) -> AIOKafkaConnection:
        return await create_conn(
            host,
            port,
            client_id=self._client_id,
            request_timeout_ms=self._request_timeout_ms,
            ssl_context=self._ssl_context,
            security_protocol=self._security_protocol,
            max_idle_ms=self._connections_max_idle_ms,
            sasl_mechanism=self._sasl_mechanism,
            sasl_plain_username=self._sasl_plain_username,
            sasl_plain_password=self._sasl_plain_password,
        )

    def _keep_if_needed(self, connection: AIOKafkaConnection) -> None:
        """A cluster without topics may name no brokers: then this connection is the only way to it."""
        cluster: ClusterMetadata = self.cluster
        if cluster.brokers():
            connection.close()
        else:
            self._conns["bootstrap", ConnectionGroup.DEFAULT] = connection

    async def _get_conn(self, node_id: int, **options: object) -> AIOKafkaConnection | None:
        if self.is_closed:
            return None
        return self._unless_closed(await super()._get_conn(node_id, **options))

    def _unless_closed(self, connection: AIOKafkaConnection | None) -> AIOKafkaConnection | None:
        if not self.is_closed:
            return connection
        _close(connection)
        return None

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


def _close(connection: AIOKafkaConnection | None) -> None:
    if connection is not None:
        connection.close()


def adopt(client: AIOKafkaClient) -> None:
    """Make the client that a consumer, a producer or an admin client has made for itself one of ours."""
    client.__class__ = Client  # the driver has no way to be given one


async def end_consumer(consumer: AIOKafkaConsumer, timeout_seconds: float) -> None:
    """Leave the group and close. Where the broker is silent, close: it loses us by the session timeout."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping}, timeout=timeout_seconds)
    # a `stop` that failed or was too slow came to only some of these
    parts = (consumer._coordinator, consumer._fetcher, consumer._client)
    tasks = [task for part in parts if part is not None for task in _tasks_of(part)]
    await ended(stopping, *tasks, timeout_seconds=_END_SECONDS)
    await consumer._client.close()


def _tasks_of(part: object) -> list[asyncio.Future[Any]]:
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_fetch_task", "_sync_task")
    single = [getattr(part, name, None) for name in names]
    return [task for task in (*single, *getattr(part, "_pending_tasks", ())) if task is not None]


async def end_producer(producer: AIOKafkaProducer, timeout_seconds: float) -> None:
    """Flush and close within the time; then close without flushing. The driver's own `stop` waits for ever."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=timeout_seconds)
    if not stopping.done():
        # no public way to stop the sender without flushing; without this it would reconnect and send for ever
        producer.client.is_closed = True
        producer._message_accumulator.fail_all(ProducerClosed())
    await producer.client.close()
    await ended(stopping, producer._sender.sender_task, timeout_seconds=_END_SECONDS)
