"""The first tables: catalog, interactions and their state, offsets, dead letters, outbox, training, API keys.

Revision: 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.infrastructure.database.columns import Id, Key, UtcDateTime, Uuid16
from app.infrastructure.database.schema_definition import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SCHEMAS = ("features", "training", "experiments", "audit")


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _in(name: str) -> str | None:
    return schema(name, op.get_bind().dialect.name)


def upgrade() -> None:
    if _is_postgres():
        for name in _SCHEMAS:
            op.execute(sa.schema.CreateSchema(name, if_not_exists=True))
    _catalog()
    _history()
    _queues()
    _training()
    _audit()


def downgrade() -> None:
    tables = {
        "audit": ("api_keys",),
        "training": ("promotions", "champions", "model_versions", "trainings"),
        "features": (
            "outbox",
            "dead_letters",
            "consumer_offsets",
            "pair_states",
            "interactions",
            "event_ids",
            "items",
            "users",
            "counters",
        ),
    }
    for name, members in tables.items():
        for table in members:
            op.drop_table(table, schema=_in(name))
    if _is_postgres():
        op.execute("DROP SEQUENCE features.interactions_blocks")
        for name in reversed(_SCHEMAS):
            op.execute(sa.schema.DropSchema(name))


def _catalog() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
        schema=_in("features"),
    )
    op.create_table(
        "users",
        sa.Column("user_key", Key, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_key", name="pk_users"),
        sa.UniqueConstraint("user_id", name="uq_users_user_id"),
        schema=_in("features"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "items",
        sa.Column("item_key", Key, nullable=False),
        sa.Column("item_id", Id, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("updated_at", UtcDateTime),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("genres", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("year", sa.BigInteger),
        sa.Column("published_at", UtcDateTime),
        sa.Column("available", sa.Boolean, nullable=False),
        sa.Column("available_from", UtcDateTime),
        sa.Column("available_until", UtcDateTime),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("item_key", name="pk_items"),
        sa.UniqueConstraint("item_id", name="uq_items_item_id"),
        schema=_in("features"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_items_revision", "items", ["revision"], schema=_in("features"))


def _history() -> None:
    op.create_table(
        "event_ids",
        sa.Column("event_id", Uuid16, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_event_ids"),
        schema=_in("features"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "interactions",
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("event_id", Uuid16, nullable=False),
        sa.Column("user_key", sa.BigInteger, nullable=False),
        sa.Column("item_key", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("duration", sa.Double),
        sa.Column("device", sa.Text),
        sa.PrimaryKeyConstraint("sequence", "occurred_at", name="pk_interactions"),
        schema=_in("features"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index("ix_interactions_user_key", "interactions", ["user_key"], schema=_in("features"))
    if _is_postgres():
        op.execute("CREATE TABLE features.interactions_default PARTITION OF features.interactions DEFAULT")
        op.execute("CREATE SEQUENCE features.interactions_blocks")
        op.execute("SELECT nextval('features.interactions_blocks')")  # so that last_value is always one given out
    op.create_table(
        "pair_states",
        sa.Column("user_key", sa.BigInteger, nullable=False),
        sa.Column("item_key", sa.BigInteger, nullable=False),
        sa.Column("slot", sa.SmallInteger, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("duration", sa.Double),
        sa.Column("peak", sa.Double, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("occurred_at", UtcDateTime, nullable=False),
        sa.Column("event_id", Uuid16, nullable=False),
        sa.PrimaryKeyConstraint("user_key", "item_key", "slot", name="pk_pair_states"),
        schema=_in("features"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_pair_states_user_key_occurred_at", "pair_states", ["user_key", "occurred_at"], schema=_in("features")
    )


def _queues() -> None:
    op.create_table(
        "consumer_offsets",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name="pk_consumer_offsets"),
        schema=_in("features"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", Key, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("received_at", UtcDateTime, nullable=False),
        sa.Column("topic", sa.Text),
        sa.Column("partition", sa.Integer),
        sa.Column("offset", sa.BigInteger),
        sa.Column("replayed_at", UtcDateTime),
        sa.PrimaryKeyConstraint("dead_letter_id", name="pk_dead_letters"),
        sa.UniqueConstraint(
            "topic", "partition", "offset", "sha256", name="uq_dead_letters_topic_partition_offset_sha256"
        ),
        schema=_in("features"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outbox",
        sa.Column("sequence", Key, nullable=False),
        sa.Column("message_id", Uuid16, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("claimed_until", UtcDateTime),
        sa.Column("published_at", UtcDateTime),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
        sa.UniqueConstraint("message_id", name="uq_outbox_message_id"),
        schema=_in("features"),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("published_at IS NULL")
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["sequence"],
        schema=_in("features"),
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def _training() -> None:
    op.create_table(
        "trainings",
        sa.Column("training_id", Id, nullable=False),
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("start_date", UtcDateTime),
        sa.Column("end_date", UtcDateTime),
        sa.Column("fencing_token", sa.BigInteger),
        sa.Column("heartbeat_at", UtcDateTime),
        sa.Column("started_at", UtcDateTime),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("model_id", sa.Text),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("body_sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("training_id", name="pk_trainings"),
        sa.UniqueConstraint("idempotency_key", name="uq_trainings_idempotency_key"),
        schema=_in("training"),
    )
    op.create_index(
        "ix_trainings_created_at_training_id", "trainings", ["created_at", "training_id"], schema=_in("training")
    )
    active = sa.text("status IN ('queued', 'running')")
    op.create_index(
        "uq_trainings_active",
        "trainings",
        ["model_type"],
        unique=True,
        schema=_in("training"),
        sqlite_where=active,
        postgresql_where=active,
    )
    op.create_table(
        "model_versions",
        sa.Column("model_id", Id, nullable=False),
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("training_id", sa.Text),
        sa.Column("artifact_key", sa.Text),
        sa.Column("manifest_sha256", sa.Text),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("lineage", sa.JSON, nullable=False),
        sa.Column("promoted_at", UtcDateTime),
        sa.PrimaryKeyConstraint("model_id", name="pk_model_versions"),
        sa.UniqueConstraint("model_type", "version", name="uq_model_versions_model_type_version"),
        schema=_in("training"),
    )
    _champions()


def _champions() -> None:
    versions = "training.model_versions.model_id" if _is_postgres() else "model_versions.model_id"
    op.create_table(
        "champions",
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("model_id", Id, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("model_type", name="pk_champions"),
        sa.ForeignKeyConstraint(["model_id"], [versions], name="fk_champions_model_id"),
        schema=_in("training"),
    )
    op.create_table(
        "promotions",
        sa.Column("model_type", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("model_id", Id, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("promoted_at", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("model_type", "epoch", name="pk_promotions"),
        sa.ForeignKeyConstraint(["model_id"], [versions], name="fk_promotions_model_id"),
        schema=_in("training"),
    )


def _audit() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", Id, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("secret_sha256", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("revoked_at", UtcDateTime),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        schema=_in("audit"),
    )
    op.create_index("ix_api_keys_client", "api_keys", ["client"], schema=_in("audit"))
