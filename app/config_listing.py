"""The settings in force as people look at them: secrets masked, each with where it comes from."""

from __future__ import annotations

import os

from pydantic import SecretStr

from app.config import Settings
from app.config_names import FILE_SUFFIX, may_come_from_a_file, read_file, setting_name
from app.domain.masking import MASK, masked


def described(settings: Settings) -> dict[str, dict[str, object]]:
    """Every setting with its value (secrets masked) and its source: environment, secret file, file or default."""
    in_file = read_file(Settings.model_fields)

    def source(field: str) -> str:
        if setting_name(field) in os.environ:
            return "environment"
        if setting_name(field) + FILE_SUFFIX in os.environ and may_come_from_a_file(field):
            return "secret file"
        return "file" if field in in_file else "default"

    return {
        setting_name(field): {"value": _shown(getattr(settings, field)), "source": source(field)}
        for field in Settings.model_fields
    }


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    return masked(str(value))
