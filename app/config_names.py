"""Where settings are written: names in the environment and in the YAML file. Unknown ones are refused by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

import yaml

from app.domain.exceptions import ConfigurationError

PREFIX = "ENCORE_"
FILE_SETTING = "ENCORE_CONFIG_FILE"
NOT_SETTINGS = frozenset({FILE_SETTING, "ENCORE_BENCH_DATA"})
"""Names that belong to us without being settings of a process; `ENCORE_TEST_*` belongs to the test servers."""


FILE_SUFFIX = "_FILE"
MAX_SECRET_BYTES = 65_536


def setting_name(field: str) -> str:
    """The environment variable of a field: `port` → `ENCORE_PORT`."""
    return PREFIX + field.upper()


def may_come_from_a_file(field: str) -> bool:
    """True for a setting that is or may hold a secret: `ENCORE_X_FILE` then names a file with its value."""
    return field.endswith(("_secret", "_url", "_api_key"))


def refuse_unknown_names(environment: Mapping[str, str], fields: Collection[str]) -> None:
    """Raise ConfigurationError for an ENCORE_* name that no setting has, in any case of letters."""
    known = {setting_name(field) for field in fields}
    known |= {setting_name(field) + FILE_SUFFIX for field in fields if may_come_from_a_file(field)}
    for name in environment:
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper.startswith("ENCORE_TEST_") or name in known | NOT_SETTINGS:
            continue
        raise ConfigurationError(name, "no such setting" + _hint(upper, known))


def read_file(fields: Collection[str]) -> dict[str, object]:
    """The mapping in the YAML file named by ENCORE_CONFIG_FILE: lower-case names without the prefix; {} without one."""
    path = os.environ.get(FILE_SETTING)
    if not path:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(FILE_SETTING, f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(FILE_SETTING, "is not valid YAML") from None  # the original quotes lines of the file
    if content is not None and not isinstance(content, dict):
        raise ConfigurationError(FILE_SETTING, "must hold one mapping of setting names to values")
    for name in content or {}:
        if name not in fields:
            raise ConfigurationError(FILE_SETTING, f"no such setting: {name}" + _hint(str(name), fields))
    return dict(content or {})


def read_secret_files(environment: Mapping[str, str], fields: Collection[str]) -> dict[str, str]:
    """The values of settings whose `ENCORE_X_FILE` names a file, as Docker and Kubernetes mount secrets.

    Line ends at the end of a file do not count. Raises ConfigurationError naming the variable, never the content.
    """
    named = {field: setting_name(field) + FILE_SUFFIX for field in fields if may_come_from_a_file(field)}
    return {
        field: _secret(variable, environment[variable], setting_name(field) in environment)
        for field, variable in named.items()
        if variable in environment
    }


def _secret(variable: str, path: str, is_given_twice: bool) -> str:
    if is_given_twice:
        raise ConfigurationError(variable, f"and {variable.removesuffix(FILE_SUFFIX)} are both set: give one of them")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(variable, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigurationError(variable, f"names a file of more than {MAX_SECRET_BYTES} bytes")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(variable, "names a file that is not UTF-8 text") from None
    if not value.strip():
        raise ConfigurationError(variable, "names an empty file")
    return value


def _hint(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
