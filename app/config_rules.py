"""The rules that `ENCORE_RULES` names: read and checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import yaml

from app.domain.exceptions import ConfigurationError, InputError
from app.domain.rules import Rules, read_rules

SETTING = "ENCORE_RULES"
MAX_BYTES = 4_194_304


def rules_of(written: str) -> Rules:
    """The rules in a JSON or YAML file, or in the text itself where it begins with `[`; none for an empty text.

    Raises ConfigurationError that names the rule which is unknown or impossible.
    """
    if not written.strip():
        return ()
    text = written if written.lstrip().startswith("[") else _content(written)
    try:
        return read_rules(yaml.safe_load(text))  # JSON is YAML
    except yaml.YAMLError:
        raise ConfigurationError(SETTING, "is not valid JSON or YAML") from None  # the original quotes lines of it
    except InputError as error:
        raise ConfigurationError(SETTING, error.problem) from None


def _content(path: str) -> str:
    try:
        content = Path(path).read_bytes()
        if len(content) > MAX_BYTES:
            raise ConfigurationError(SETTING, f"is longer than {MAX_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise ConfigurationError(SETTING, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(SETTING, "is not UTF-8") from None
