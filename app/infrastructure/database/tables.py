"""The tables. Alembic makes them (alembic/); a test compares these definitions with what the migrations made.

Times are UTC. External ids are text at the edges; inside, rows point at each other by integer keys. On SQLite the
schema names vanish (`dialects.sqlite`), everything else is the same.

`interactions` and `pair_states` have no foreign keys: the ingest resolves the keys itself, by joining the tables they
would point to in the same transaction and, where writers can run side by side, under a lock on the users' rows. A check
of each row again would cost a third of the ingest rate.
"""

from __future__ import annotations

import sqlalchemy as sa

from app.infrastructure.database.columns import Id, Key, UtcDateTime, Uuid16

SCHEMAS = ("features", "training", "experiments", "audit")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# ── features ─────────────────────────────────────────────────────────────────────────────────────────────────────────

counters = sa.Table(  # numbers that must never be given out twice: catalog revisions, tokens, versions, sequences
    "counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    schema="features",
)

users = sa.Table(  # a user only known from interactions has updated_at 1970, so that any profile wins
    "users",
    metadata,
    sa.Column("user_key", Key, primary_key=True),
    sa.Column("user_id", Id, nullable=False, unique=True),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    schema="features",
    sqlite_autoincrement=True,  # a key that was given out once may still be held by a reader: never again
)

tombstones = sa.Table(  # erased users: what occurred up to then is never taken in again
    "tombstones",
    metadata,
    sa.Column("user_id", Id, primary_key=True),
    sa.Column("until", UtcDateTime, nullable=False),
    schema="features",
    sqlite_with_rowid=False,
)

items = sa.Table(  # an item only known from interactions has no updated_at and revision 0
    "items",
    metadata,
    sa.Column("item_key", Key, primary_key=True),
    sa.Column("item_id", Id, nullable=False, unique=True),
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
    sa.Index("ix_items_revision", "revision"),
    schema="features",
    sqlite_autoincrement=True,
)

event_ids = sa.Table(  # identity across partitions, which a unique index of a partitioned table cannot give
    "event_ids",
    metadata,
    sa.Column("event_id", Uuid16, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    schema="features",
    sqlite_with_rowid=False,
)

interactions = sa.Table(  # append-only history; `sequence` is the order of insertion
    "interactions",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("occurred_at", UtcDateTime, primary_key=True),
    sa.Column("event_id", Uuid16, nullable=False),
    sa.Column("user_key", sa.BigInteger, nullable=False),
    sa.Column("item_key", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("duration", sa.Double),
    sa.Column("device", sa.Text),
    sa.Index("ix_interactions_user_key", "user_key"),
    schema="features",
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (occurred_at)",
)

pair_states = sa.Table(  # what is known of one (user, item, kind); like and dislike share a `slot`
    "pair_states",
    metadata,
    sa.Column("user_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item_key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("duration", sa.Double),
    sa.Column("peak", sa.Double, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", UtcDateTime, nullable=False),
    sa.Column("event_id", Uuid16, nullable=False),
    sa.Index("ix_pair_states_user_key_occurred_at", "user_key", "occurred_at"),
    schema="features",
    sqlite_with_rowid=False,
)

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("import_id", Id, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("files", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("undone_at", UtcDateTime),
    schema="features",
)

import_ranges = sa.Table(  # one a batch: nobody else's interactions lie between the two
    "import_ranges",
    metadata,
    sa.Column("import_id", Id, primary_key=True),
    sa.Column("first_sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    schema="features",
    sqlite_with_rowid=False,
)

consumer_offsets = sa.Table(
    "consumer_offsets",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("epoch", sa.Text, nullable=False),
    schema="features",
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("dead_letter_id", Key, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("topic", sa.Text),
    sa.Column("partition", sa.Integer),
    sa.Column("offset", sa.BigInteger),
    sa.Column("replayed_at", UtcDateTime),
    sa.UniqueConstraint("topic", "partition", "offset", "sha256"),  # one letter a record, however often it is read
    schema="features",
    sqlite_autoincrement=True,
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("sequence", Key, primary_key=True),
    sa.Column("message_id", Uuid16, nullable=False, unique=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("claimed_until", UtcDateTime),
    sa.Column("published_at", UtcDateTime),
    schema="features",
    sqlite_autoincrement=True,
)
_waiting = outbox.c.published_at.is_(None)
sa.Index("ix_outbox_waiting", outbox.c.sequence, sqlite_where=_waiting, postgresql_where=_waiting)

# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────

trainings = sa.Table(
    "trainings",
    metadata,
    sa.Column("training_id", Id, primary_key=True),
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
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("body_sha256", sa.Text, nullable=False),
    sa.Index("ix_trainings_created_at_training_id", "created_at", "training_id"),
    schema="training",
)
_active = trainings.c.status.in_(["queued", "running"])
sa.Index(  # single flight: the database itself refuses a second one
    "uq_trainings_active", trainings.c.model_type, unique=True, sqlite_where=_active, postgresql_where=_active
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("model_id", Id, primary_key=True),
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
    sa.UniqueConstraint("model_type", "version"),
    schema="training",
)

champions = sa.Table(
    "champions",
    metadata,
    sa.Column("model_type", sa.Text, primary_key=True),
    sa.Column("model_id", Id, sa.ForeignKey(model_versions.c.model_id), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    schema="training",
)

promotions = sa.Table(  # every champion there ever was, in order: what `previous` is found by
    "promotions",
    metadata,
    sa.Column("model_type", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model_id", Id, sa.ForeignKey(model_versions.c.model_id), nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("promoted_at", UtcDateTime, nullable=False),
    schema="training",
)

reports = sa.Table(  # figures worked out by the clock; a row without `made_at` is being worked out
    "reports",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("slot", UtcDateTime, primary_key=True),
    sa.Column("claimed_at", UtcDateTime, nullable=False),
    sa.Column("made_at", UtcDateTime),
    sa.Column("model_id", sa.Text),
    sa.Column("figures", sa.JSON, nullable=False),
    schema="training",
)

# ── audit ────────────────────────────────────────────────────────────────────────────────────────────────────────────

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", Id, primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Index("ix_api_keys_client", "client"),
    schema="audit",
)
