"""`encore dashboard`: the console for people, in a process of its own that talks to the HTTP API alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.shared import exit_on_error

if TYPE_CHECKING:  # settings are loaded by the command, not by `encore --help`
    from app.config import Settings


def register(app: typer.Typer) -> None:
    """Add `encore dashboard`."""
    app.command("dashboard")(dashboard)


def dashboard(
    host: Annotated[str | None, typer.Option(help="Default: ENCORE_DASHBOARD_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Default: ENCORE_DASHBOARD_PORT.")] = None,
) -> None:
    """Show the console until told to stop. Needs the extra `dashboard` and ENCORE_DASHBOARD_API_KEY."""
    with exit_on_error():
        from app.config import load_settings

        overrides = {"dashboard_host": host, "dashboard_port": port}
        settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
        serve_console(settings)


def serve_console(settings: Settings) -> None:
    """Run Streamlit in this process. Raises ConfigurationError without a key or without the extra."""
    from app.domain.exceptions import ConfigurationError

    key = "" if settings.dashboard_api_key is None else settings.dashboard_api_key.get_secret_value()
    if not key:
        raise ConfigurationError("ENCORE_DASHBOARD_API_KEY", "is needed: `encore api-keys create` makes one")
    os.environ["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] = "false"  # before Streamlit is imported: it asks nobody outside
    try:
        from streamlit.web import bootstrap

        from app.dashboard import api_client, connection
    except ModuleNotFoundError:
        raise ConfigurationError("encore dashboard", "needs the extra: pip install 'encore-recs[dashboard]'") from None
    url = settings.dashboard_api_url.rstrip("/")
    operations = (settings.dashboard_operations_url or url).rstrip("/")
    connection.configure(api_client.ApiClient(url, operations, key))
    options = {
        "server_address": settings.dashboard_host,
        "server_port": settings.dashboard_port,
        "server_headless": True,
        "server_fileWatcherType": "none",
        "browser_gatherUsageStats": False,
        "client_toolbarMode": "viewer",
        "client_showErrorDetails": "none",
    }
    bootstrap.load_config_options(options)
    bootstrap.run(str(Path(connection.__file__).with_name("console.py")), False, [], options)
