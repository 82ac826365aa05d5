"""Kombu's Redis transport, without the faults that end a worker whose broker goes away while it holds messages.

When the broken connection is closed, kombu 5.7 still gives messages back, and acknowledges them later, over a
connection that is already taken apart: an AttributeError, which Celery takes for unrecoverable. There is nothing to
tell a broker that is gone. Its messages come again by the visibility timeout, and the next tick rings for every
training that still waits. tests/integration/test_celery.py restarts the broker under a working worker.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Talks to the broker only while there is a connection to do it over."""

    def _is_cut_off(self) -> bool:
        connection = self.channel.connection
        return connection is None or connection.client is None

    def restore_unacked(self, client: Any = None) -> None:
        if self._is_cut_off():
            self._delivered.clear()
        else:
            super().restore_unacked(client)  # type: ignore[no-untyped-call]  # kombu's methods have no types

    def ack(self, delivery_tag: str) -> None:
        if self._is_cut_off():
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # kombu's methods have no types
        else:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu's methods have no types

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self._is_cut_off():
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # kombu's methods have no types
        else:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]  # kombu's methods have no types


class Channel(redis.Channel):
    """A channel with that QoS."""

    QoS = QoS


class Transport(redis.Transport):
    """What `broker_transport` names."""

    Channel = Channel
