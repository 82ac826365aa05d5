"""Files of rows, streaming: delimited text, JSON, Parquet, GroupLens' and RecBole's formats; .gz and .zst too."""

from __future__ import annotations

from app.infrastructure.files.encodings import known_encoding
from app.infrastructure.files.layouts import delimiter_of
from app.infrastructure.files.opening import open_reader, open_writer

__all__ = ["delimiter_of", "known_encoding", "open_reader", "open_writer"]
