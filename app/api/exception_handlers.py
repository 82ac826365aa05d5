"""From whatever routes and framework raise to a problem document (errors.py decides which)."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import telemetry
from app.api import problems
from app.api.envelope import CLOSE
from app.api.problems import Problem, invalid, problem_of, render
from app.api.request_context import request_context_of
from app.api.routing import allow_header, methods_at
from app.domain.exceptions import EncoreError, PermissionDeniedError


def problem_response(problem: Problem, request_id: str) -> Response:
    """The problem as the framework wants it."""
    headers, body = render(problem, request_id)
    response = Response(body, problem.status)
    response.raw_headers = headers
    return response


async def handle_encore_error(request: Request, error: Exception) -> Response:
    """An error we raised on purpose."""
    if isinstance(error, PermissionDeniedError):
        telemetry.AUTHENTICATION_FAILURES.labels("permission").inc()
    return problem_response(problem_of(error), request_context_of(request.scope).request_id)


async def handle_validation_error(request: Request, error: Exception) -> Response:
    """A request that the schemas refuse."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    return problem_response(invalid(found), request_context_of(request.scope).request_id)


async def handle_http_error(request: Request, error: Exception) -> Response:
    """A refusal of the framework's; one that wraps an error of ours, or of a body's entries, is that error."""
    request_id = request_context_of(request.scope).request_id
    if isinstance(error.__cause__, RequestValidationError):
        return await handle_validation_error(request, error.__cause__)
    if isinstance(error.__cause__, EncoreError):
        return problem_response(problem_of(error.__cause__), request_id)
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = problems.BY_STATUS.get(status, problems.INTERNAL)
    if kind is problems.METHOD_NOT_ALLOWED:
        allowed = methods_at(request.app, request.scope["path"])
        return problem_response(Problem(kind, headers=(allow_header(allowed),)), request_id)
    return problem_response(Problem(kind, headers=CLOSE if kind is problems.TOO_LARGE else ()), request_id)


async def handle_unexpected_error(request: Request, error: Exception) -> Response:
    """A mistake of ours; the framework raises it again for the boundary to log."""
    return problem_response(Problem(problems.INTERNAL), request_context_of(request.scope).request_id)


def install(app: FastAPI) -> None:
    """Handle everything that can be raised below the boundary; the boundary logs the rest."""
    app.add_exception_handler(EncoreError, handle_encore_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(Exception, handle_unexpected_error)
