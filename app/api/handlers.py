"""From whatever routes and framework raise to a problem document (errors.py decides which)."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import telemetry
from app.api import errors
from app.api.errors import Problem, invalid, problem_of, render
from app.api.exchange import call_of
from app.api.hygiene import CLOSE
from app.api.routing import allow_header, methods_at
from app.domain.exceptions import EncoreError, PermissionDeniedError


def problem_response(problem: Problem, request_id: str) -> Response:
    """The problem as the framework wants it."""
    headers, body = render(problem, request_id)
    response = Response(body, problem.status)
    response.raw_headers = headers
    return response


async def on_own_error(request: Request, error: Exception) -> Response:
    """An error we raised on purpose."""
    if isinstance(error, PermissionDeniedError):
        telemetry.AUTHENTICATION_FAILURES.labels("permission").inc()
    return problem_response(problem_of(error), call_of(request.scope).request_id)


async def on_invalid(request: Request, error: Exception) -> Response:
    """A request that the schemas refuse."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem_response(invalid(found), call_of(request.scope).request_id)


async def on_http_error(request: Request, error: Exception) -> Response:
    """A refusal of the framework's; one that wraps an error of ours is that error."""
    request_id = call_of(request.scope).request_id
    if isinstance(error.__cause__, EncoreError):
        return problem_response(problem_of(error.__cause__), request_id)
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = errors.BY_STATUS.get(status, errors.INTERNAL)
    if kind is errors.METHOD_NOT_ALLOWED:
        allowed = methods_at(request.app, request.scope["path"])
        return problem_response(Problem(kind, headers=(allow_header(allowed),)), request_id)
    return problem_response(Problem(kind, headers=CLOSE if kind is errors.TOO_LARGE else ()), request_id)


async def on_anything(request: Request, error: Exception) -> Response:
    """A mistake of ours; the framework raises it again for the boundary to log."""
    return problem_response(Problem(errors.INTERNAL), call_of(request.scope).request_id)


def install(app: FastAPI) -> None:
    """Handle everything that can be raised below the boundary; the boundary logs the rest."""
    app.add_exception_handler(EncoreError, on_own_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(Exception, on_anything)
