"""The OpenAPI 3.1 document: the framework's, plus how to authenticate and what the framework does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.api.examples import add_examples
from app.api.routing import SecuredRoute
from app.api.security import policy_of
from app.api.v1.schemas.common import FieldProblem, Problem
from app.api.v1.schemas.event_schemas import event_schemas

DESCRIPTION = (
    "Fresh personalised lists, and the models behind them. Every answer that is not 2xx or 304 is a problem document "
    "(RFC 9457) with a fixed `type`. Send a token or an API key as `Authorization: Bearer …`."
)
SCHEMES: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JWT of your identity provider, or an API key (which may also come as `X-API-Key`).",
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made once, then kept."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
        )
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(problem_schemas())
        schemas.update(event_schemas())
        made["components"]["securitySchemes"] = SCHEMES
        for route in app.routes:
            if isinstance(route, SecuredRoute) and route.include_in_schema:
                _complete(made["paths"][route.path_format], route)
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        app.openapi_schema = made
    return app.openapi_schema


def problem_schemas() -> dict[str, Any]:
    """Problem and FieldProblem, which no route returns as a model."""
    _, found = models_json_schema(
        [(Problem, "serialization"), (FieldProblem, "serialization")], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _complete(operations: dict[str, Any], route: SecuredRoute) -> None:
    """Say of each operation who may call it, and show one call."""
    policy = policy_of(route.endpoint)
    for method in route.methods or ():
        operation = operations[method.lower()]
        operation["security"] = [] if policy.public else [{"bearer": []}]
        add_examples(operation)
        if policy.public:
            continue
        needs = " or ".join(f"`{scope}`" for scope in sorted(policy.scopes))
        owner = "" if policy.owner is None else f" People reach only their own `{policy.owner}`."
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds {needs}.{owner}".strip()
