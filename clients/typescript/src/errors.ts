/**
 * What can go wrong, as one tree:
 *
 *     EncoreError
 *     ├── ProblemError              an answer that is not a success (RFC 9457)
 *     │   ├── InvalidRequestError   400, 413, 414, 415, 422, 431: sending it again does not help
 *     │   ├── AuthenticationError   401
 *     │   ├── PermissionDeniedError 403
 *     │   ├── NotFoundError         404
 *     │   ├── ConflictError         409
 *     │   ├── RateLimitedError      429, with `retryAfterSeconds`
 *     │   ├── UnavailableError      503, with `retryAfterSeconds`
 *     │   └── ServerError           any other 5xx
 *     ├── ConnectionError           no answer
 *     │   └── TimeoutError          … in time
 *     ├── EventRejectedError        the service cannot take this event in
 *     └── BatcherClosedError        the batcher was closed before this event was stored
 *
 * A caller's own AbortSignal is not an EncoreError: its reason is thrown as it is.
 */
import type { FieldProblem, Problem } from "./schema.js";

export class EncoreError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** An answer that is not a success. */
export class ProblemError extends EncoreError {
  constructor(
    readonly status: number,
    /** A stable URN, such as `urn:problem-type:encore:training-running`. */
    readonly type: string,
    readonly title: string,
    readonly requestId: string | null,
    readonly errors: readonly FieldProblem[],
    readonly retryAfterSeconds: number | null,
    /** The whole document, with members that only some problems have (`resource`, `training_id`). */
    readonly document: Readonly<Record<string, unknown>>,
  ) {
    super(`${status} ${title}${errors.map((found) => `; ${found.in}${found.pointer}: ${found.code}`).join("")}`);
  }
}

export class InvalidRequestError extends ProblemError {}
export class AuthenticationError extends ProblemError {}
export class PermissionDeniedError extends ProblemError {}
export class NotFoundError extends ProblemError {}
export class ConflictError extends ProblemError {}
export class RateLimitedError extends ProblemError {}
export class UnavailableError extends ProblemError {}
export class ServerError extends ProblemError {}

/** No answer came. */
export class ConnectionError extends EncoreError {}

/** No answer came in time. */
export class TimeoutError extends ConnectionError {}

/** The service cannot take this event in; `reason` is a stable code, `field` the field it is about. */
export class EventRejectedError extends EncoreError {
  constructor(
    readonly reason: string,
    readonly field: string | null,
  ) {
    super(`event rejected: ${reason}${field === null ? "" : ` (${field})`}`);
  }
}

/** The batcher was closed before this event was stored: send it again if it matters. */
export class BatcherClosedError extends EncoreError {}

const BY_STATUS: Readonly<Record<number, typeof ProblemError>> = {
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  429: RateLimitedError,
  503: UnavailableError,
};

/** The error of an answer. Reads its body; a body that is no problem document gives a title all the same. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const document = await documentOf(response);
  const Kind = BY_STATUS[response.status] ?? (response.status >= 500 ? ServerError : InvalidRequestError);
  return new Kind(
    response.status,
    document.type ?? "about:blank",
    document.title ?? (response.statusText || "unexpected answer"),
    document.request_id ?? response.headers.get("x-request-id"),
    document.errors ?? [],
    retryAfter(response),
    document,
  );
}

async function documentOf(response: Response): Promise<Partial<Problem>> {
  try {
    const parsed: unknown = await response.json();
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? parsed : {};
  } catch {
    return {}; // a proxy's page, or nothing: the status says enough
  }
}

/** Seconds of `Retry-After`, in either of its forms (RFC 9110 §10.2.3); null without one. */
export function retryAfter(response: Response, now: number = Date.now()): number | null {
  const value = response.headers.get("retry-after");
  if (value === null) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}
