"""Files of rows, streaming: CSV, JSON lines, Parquet, and the formats of GroupLens and RecBole; .gz and .zst too."""

from __future__ import annotations

from app.infrastructure.files.opening import open_reader, open_writer

__all__ = ["open_reader", "open_writer"]
