/** One request and its repetitions: time limits, what is safe to repeat, how long to wait, what is known already. */
import { ConnectionError, TimeoutError, retryAfter } from "./errors.js";

export interface RetryOptions {
  /** Tries after the first. 0 turns repetition off. */
  retries: number;
  /** Wait before the first repetition, in milliseconds; doubled each time, and jittered. */
  baseDelayMs: number;
  /** No wait is longer; where the service asks for a longer one, its refusal is thrown instead. */
  maxDelayMs: number;
}

/** What may be sent twice: `always` means the same thing twice (reads, PUT, DELETE, events with ids); `refused` not. */
export type Repeatable = "always" | "refused";

export interface TransportOptions {
  fetch: (request: Request) => Promise<Response>;
  timeoutMs: number;
  retry: RetryOptions;
  /** Answers kept to ask "has it changed?" (ETag). */
  etagEntries: number;
  random: () => number;
}

/** What one call may ask for itself. */
export interface CallOptions {
  signal?: AbortSignal;
  /** For each try. */
  timeoutMs?: number;
  retries?: number;
}

const TRANSIENT: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);
/** No answer above this many characters is kept. */
const MAX_KEPT_CHARACTERS = 65_536;

interface Kept {
  etag: string;
  body: string;
  headers: [string, string][];
}

export class Transport {
  readonly #options: TransportOptions;
  readonly #kept = new Map<string, Kept>();

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /** A `fetch` for requests of this kind. The request's own signal ends everything at once, waits too. */
  sender(repeatable: Repeatable, call: CallOptions = {}): (request: Request) => Promise<Response> {
    const timeoutMs = call.timeoutMs ?? this.#options.timeoutMs;
    const retry = { ...this.#options.retry, ...(call.retries === undefined ? {} : { retries: call.retries }) };
    return async (request) => {
      const known = this.#known(request);
      if (known !== undefined) request.headers.set("if-none-match", known.etag);
      const response = await this.#repeated(request, repeatable, timeoutMs, retry);
      if (response.status === 304 && known !== undefined) {
        return new Response(known.body, { status: 200, headers: known.headers });
      }
      return this.#remembered(request, response);
    };
  }

  async #repeated(request: Request, repeatable: Repeatable, timeoutMs: number, retry: RetryOptions): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#once(request.clone(), timeoutMs);
      if (attempt >= retry.retries || !mayRepeat(outcome, repeatable)) return settled(outcome);
      const delay = delayMs(attempt, outcome, retry, this.#options.random);
      if (delay === null) return settled(outcome);
      await sleep(delay, request.signal);
    }
  }

  async #once(request: Request, timeoutMs: number): Promise<Response | ConnectionError> {
    const limit = AbortSignal.timeout(timeoutMs);
    try {
      const response = await this.#options.fetch(new Request(request, { signal: AbortSignal.any([request.signal, limit]) }));
      // The body counts too: an answer that stops half-way must not hang whoever reads it.
      const body = await response.arrayBuffer();
      const empty = response.status === 204 || response.status === 304;
      return new Response(empty ? null : body, response);
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason;
      if (limit.aborted) return new TimeoutError(`no answer within ${timeoutMs} ms`, { cause: error });
      return new ConnectionError("no answer", { cause: error });
    }
  }

  #known(request: Request): Kept | undefined {
    return request.method === "GET" ? this.#kept.get(keyOf(request)) : undefined;
  }

  async #remembered(request: Request, response: Response): Promise<Response> {
    const etag = response.headers.get("etag");
    if (request.method !== "GET" || etag === null || !response.ok || this.#options.etagEntries === 0) return response;
    const body = await response.clone().text();
    if (body.length > MAX_KEPT_CHARACTERS) return response;
    const key = keyOf(request);
    this.#kept.delete(key); // the newest stands last
    this.#kept.set(key, { etag, body, headers: [...response.headers] });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#options.etagEntries) break;
      this.#kept.delete(oldest);
    }
    return response;
  }
}

/** Another caller's answer is another answer. */
function keyOf(request: Request): string {
  return JSON.stringify([request.url, request.headers.get("authorization")]);
}

export function mayRepeat(outcome: Response | ConnectionError, repeatable: Repeatable): boolean {
  if (outcome instanceof ConnectionError) return repeatable === "always";
  // 429 is said before anything is done; after other failures something may have been.
  return repeatable === "always" ? TRANSIENT.has(outcome.status) : outcome.status === 429;
}

/**
 * Milliseconds until the next try; null if the service asks for more than we are ready to wait. At least what
 * `Retry-After` says, plus "full jitter" (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
 */
export function delayMs(
  attempt: number,
  outcome: Response | ConnectionError,
  retry: RetryOptions,
  random: () => number,
): number | null {
  const jittered = random() * Math.min(retry.maxDelayMs, retry.baseDelayMs * 2 ** attempt);
  const asked = outcome instanceof ConnectionError ? null : retryAfter(outcome);
  if (asked === null) return jittered;
  return asked * 1000 > retry.maxDelayMs ? null : asked * 1000 + random() * retry.baseDelayMs;
}

function settled(outcome: Response | ConnectionError): Response {
  if (outcome instanceof ConnectionError) throw outcome;
  return outcome;
}

/** Wait; throws the signal's reason as soon as it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}
