/** Live lists: server-sent events read with `fetch`, over as many connections as it takes. */
import { ConnectionError, ProblemError, problemOf } from "./errors.js";
import type * as schema from "./schema.js";
import { sleep } from "./transport.js";

export type LiveQuery = Omit<NonNullable<schema.operations["streamList"]["parameters"]["query"]>, "last_event_id">;

/** The list as it is now. Hand `id` back as `lastId` to hear nothing until it is another. */
export interface LiveUpdate {
  id: string;
  list: schema.ListAnswer;
}

export interface LiveOptions {
  /** Ends it: the iterator throws the signal's reason. */
  signal?: AbortSignal;
  /** The id of the list that is shown already. */
  lastId?: string;
  /** After so long without a sign of life the connection is given up, and another is opened. */
  silenceMs?: number;
  /** Hears of each connection that ended; the next one is on its way. */
  onReconnect?: (cause: unknown) => void;
}

export interface LiveSource {
  baseUrl: string;
  token: () => string | Promise<string>;
  fetch: (request: Request) => Promise<Response>;
  random: () => number;
}

const SILENCE_MS = 60_000;
const MAX_WAIT_MS = 30_000;
/** Refusals that pass by themselves. All others (401, 403, 404, 422) end the iterator. */
const PASSING: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/** One event of https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as the service uses it. */
export interface ServerEvent {
  event: string;
  id: string | null;
  data: string;
  retry: number | null;
}

/** Events out of pieces of text, wherever those are cut. */
export class EventParser {
  #rest = "";

  feed(piece: string): ServerEvent[] {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(parsed);
  }
}

function parsed(block: string): ServerEvent {
  const found: ServerEvent = { event: "comment", id: null, data: "", retry: null };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const value = line.slice(colon + 1).replace(/^ /, "");
    switch (line.slice(0, colon)) {
      case "event": found.event = value; break;
      case "id": found.id = value; break;
      case "data": found.data = value; break;
      case "retry": found.retry = Number(value); break;
    }
  }
  return found;
}

/** Each change of a user's list, for ever: what ends a connection ends only that. */
export async function* liveList(source: LiveSource, userId: string, query: LiveQuery, options: LiveOptions): AsyncGenerator<LiveUpdate> {
  const state: State = { lastId: options.lastId ?? null, pauseMs: 1_000, failures: 0 };
  const signal = options.signal ?? new AbortController().signal;
  for (;;) {
    signal.throwIfAborted();
    const token = await source.token();
    let cause: unknown = null;
    try {
      yield* connection(source, token, userId, query, state, signal, options.silenceMs ?? SILENCE_MS);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof ProblemError && !PASSING.has(error.status)) throw error;
      if (!(error instanceof ProblemError || error instanceof ConnectionError)) throw error;
      cause = error;
    }
    options.onReconnect?.(cause);
    await sleep(waitMs(state, cause, source.random), signal);
  }
}

interface State {
  lastId: string | null;
  pauseMs: number;
  failures: number;
}

function waitMs(state: State, cause: unknown, random: () => number): number {
  const asked = cause instanceof ProblemError ? (cause.retryAfterSeconds ?? 0) * 1_000 : 0;
  const grown = Math.min(MAX_WAIT_MS, state.pauseMs * 2 ** Math.min(state.failures, 10));
  state.failures += 1;
  return asked + grown * (0.5 + random() / 2);
}

async function* connection(
  source: LiveSource, token: string, userId: string, query: LiveQuery, state: State, signal: AbortSignal, silenceMs: number,
): AsyncGenerator<LiveUpdate> {
  const silence = new AbortController();
  const watch = (): ReturnType<typeof setTimeout> => setTimeout(() => silence.abort(), silenceMs);
  let timer = watch();
  try {
    const answer = await opened(source, token, userId, query, state.lastId, AbortSignal.any([signal, silence.signal]));
    const reader = answer.body!.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    const parser = new EventParser();
    try {
      for (;;) {
        const part = await reader.read();
        clearTimeout(timer);
        if (part.done) return;
        for (const event of parser.feed(part.value)) {
          if (event.retry !== null) state.pauseMs = event.retry;
          if (event.event === "end") return;
          if (event.event !== "list" || event.id === null) continue;
          state.lastId = event.id;
          state.failures = 0;
          yield { id: event.id, list: JSON.parse(event.data) as schema.ListAnswer };
        }
        timer = watch();
      }
    } finally {
      await reader.cancel().catch(() => undefined); // it may have failed already: what of it is known above
    }
  } catch (error) {
    if (signal.aborted || error instanceof ProblemError) throw error;
    throw new ConnectionError(silence.signal.aborted ? `no sign of life within ${silenceMs} ms` : "the connection ended", { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

async function opened(
  source: LiveSource, token: string, userId: string, query: LiveQuery, lastId: string | null, signal: AbortSignal,
): Promise<Response> {
  const address = new URL(`${source.baseUrl}/api/v1/recs/${encodeURIComponent(userId)}/stream`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) address.searchParams.append(name, String(one));
  }
  const headers: Record<string, string> = { authorization: `Bearer ${token}` };
  if (lastId !== null) headers["last-event-id"] = lastId;
  const answer = await source.fetch(new Request(address, { headers, signal }));
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}
