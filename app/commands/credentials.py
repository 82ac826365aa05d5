"""`encore token` and `encore api-keys`: credentials for people and for services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.audit import trail_of
from app.commands.shared import JsonFlag, exit_on_error, output, prepare, run

if TYPE_CHECKING:  # importing the container loads every adapter, which `encore --help` must not wait for
    from app.application.credentials import ApiKeys
    from app.bootstrap import Container
    from app.domain.entities import ApiKey

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ScopeOption = Annotated[
    list[str] | None,
    typer.Option(help="recs:read, recs:train, recs:admin, events:write or catalog:write; repeatable, or with commas."),
]


def register(app: typer.Typer) -> None:
    """Add `encore token` and `encore api-keys …`."""
    app.command("token")(make_token)
    keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke service credentials.")
    app.add_typer(keys, name="api-keys")
    keys.command("create")(create_key)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke_key)


def make_token(
    sub: Annotated[str, typer.Option(help="Whose token: a user id.")],
    scope: ScopeOption = None,
    ttl: Annotated[str, typer.Option(help="How long it is good: 90s, 15m, 12h or 1d.")] = "1h",
    as_json: JsonFlag = False,
) -> None:
    """Make a token for a user or an operator (HS256 secrets only)."""
    with exit_on_error():
        from app.application.credentials import issue_token
        from app.connecting import utc_now
        from app.domain.exceptions import ConfigurationError

        settings = prepare()
        if settings.jwt_secret is None:
            raise ConfigurationError("ENCORE_JWT_SECRET", "is not set; tokens come from your identity provider")
        lifetime = seconds_in(ttl)
        if lifetime > settings.jwt_max_lifetime_seconds:
            raise ConfigurationError("ENCORE_JWT_MAX_LIFETIME_SECONDS", "is shorter than the --ttl asked for")
        scopes = listed(scope) or ["recs:read"]
        token = issue_token(
            settings.jwt_secret.get_secret_value(),
            subject=sub,
            scopes=scopes,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            lifetime_seconds=lifetime,
            now=utc_now(),
        )
        facts = {"token": token, "sub": sub, "scopes": sorted(scopes), "expires_in_seconds": lifetime}
        output(as_json).result(facts, token)


def create_key(
    client: Annotated[str, typer.Argument(help="Which service it is for; at most two active keys each.")],
    scope: ScopeOption = None,
    days: Annotated[float | None, typer.Option(min=0.001, max=3_650, help="Ends after this; default: never.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an API key. It is shown once: only its hash is kept."""

    async def work(container: Container) -> tuple[ApiKey, str]:
        async with trail_of(container).change("api_key.create", client):
            return await keys_of(container).create(client, listed(scope) or ["recs:read"], days)

    from app.application.credentials import key_facts

    key, text = run(work)
    output(as_json).result({"key": text, **key_facts(key)}, text)


def list_keys(as_json: JsonFlag = False) -> None:
    """Every key there is, revoked ones included; never a secret."""

    async def work(container: Container) -> list[ApiKey]:
        return list(await keys_of(container).list())

    from app.application.credentials import key_facts

    found = [key_facts(key) for key in run(work)]
    rows = [list(facts.values()) for facts in found]
    columns = ("id", "client", "scopes", "created", "expires", "revoked")
    output(as_json).table({"keys": found}, columns, rows)


def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The id from `api-keys list`.")], as_json: JsonFlag = False
) -> None:
    """End a key. Servers notice within a minute."""

    async def work(container: Container) -> None:
        async with trail_of(container).change("api_key.revoke", key_id):
            await keys_of(container).revoke(key_id)

    run(work)
    output(as_json).result({"revoked": key_id}, f"revoked {key_id}")


def keys_of(container: Container) -> ApiKeys:
    """The keys of this container's environment."""
    from app.application.credentials import ApiKeys

    return ApiKeys(container.database.api_keys, container.settings.environment, container.clock)


def listed(scopes: list[str] | None) -> list[str]:
    """`--scope a,b --scope c` → a, b, c."""
    return [word for scope in scopes or () for word in scope.replace(",", " ").split()]


def seconds_in(text: str) -> int:
    """`90s`, `15m`, `12h`, `1d`, or plain seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in SECONDS else (text, "s")
    if not number.isdecimal() or not 0 < int(number) < 10**9:
        raise typer.BadParameter("give a time such as 15m, 12h or 1d", param_hint="--ttl")
    return int(number) * SECONDS[unit]
