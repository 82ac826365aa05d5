/** Events one by one in, few requests out; what is acknowledged is stored, and stored once. */
import {
  BatcherClosedError,
  ConflictError,
  ConnectionError,
  EventRejectedError,
  InvalidRequestError,
  PermissionDeniedError,
  ProblemError,
} from "./errors.js";
import type { EncoreEvent, IdentifiedEvent } from "./events.js";
import { withId } from "./events.js";
import type { EventResult, EventsAnswer } from "./schema.js";
import { sleep } from "./transport.js";

export interface BatcherOptions {
  /** Events in one request, at most 5,000. */
  maxBatch?: number;
  /** Events waiting or under way; `send` and `push` wait for room beyond it. */
  maxQueue?: number;
  /** How long the first event of a request waits for others, in milliseconds. */
  lingerMs?: number;
  /** Longest wait between two tries while the service is away, in milliseconds. */
  maxDelayMs?: number;
  /** Told of each event of `push` that the service refused. */
  onRejected?: (event: IdentifiedEvent, error: unknown) => void;
  random?: () => number;
}

interface Entry {
  event: IdentifiedEvent;
  resolve: (result: EventResult) => void;
  reject: (error: unknown) => void;
}

type Send = (events: readonly IdentifiedEvent[], signal: AbortSignal) => Promise<EventsAnswer>;

const FIRST_DELAY_MS = 100;

/**
 * While the service is away, a batch is sent again, with the same event ids, until it answers or the batcher is closed:
 * an event that was stored although its answer got lost counts as a duplicate the second time.
 */
export class EventBatcher {
  readonly #send: Send;
  readonly #options: Required<BatcherOptions>;
  readonly #queue: Entry[] = [];
  readonly #stop = new AbortController();
  #underWay = 0;
  #isClosed = false;
  #isFlushing = false;
  #pump: Promise<void> | null = null;
  #linger: AbortController | null = null;
  #waiting: (() => void)[] = [];
  readonly #left: IdentifiedEvent[] = [];

  constructor(send: Send, options: BatcherOptions = {}) {
    this.#send = send;
    this.#options = { maxBatch: 500, maxQueue: 10_000, lingerMs: 50, maxDelayMs: 5_000, onRejected: () => undefined, random: Math.random, ...options };
    if (this.#options.maxBatch < 1 || this.#options.maxBatch > 5_000) throw new RangeError("maxBatch: from 1 to 5,000");
    if (this.#options.maxQueue < this.#options.maxBatch) throw new RangeError("maxQueue: at least maxBatch");
  }

  /** Events that wait or are under way. */
  get pending(): number {
    return this.#queue.length + this.#underWay;
  }

  /**
   * Resolves when the event is stored. Waits while the queue is full. Throws EventRejectedError or a ProblemError if the
   * service refuses it, BatcherClosedError if the batcher is closed first.
   */
  async send(event: EncoreEvent): Promise<EventResult> {
    const identified = withId(event);
    while (this.#isFull()) await this.#room();
    return this.#enqueued(identified);
  }

  /** Resolves with the event's id as soon as the queue has room for it. Refusals go to `onRejected`. */
  async push(event: EncoreEvent): Promise<string> {
    const identified = withId(event);
    while (this.#isFull()) await this.#room();
    this.#enqueued(identified).catch((error: unknown) => this.#options.onRejected(identified, error));
    return identified.event_id;
  }

  /** Resolves when everything taken in so far is stored or refused. Does not wait for others to join a request. */
  async flush(): Promise<void> {
    this.#isFlushing = true;
    this.#linger?.abort();
    while (this.#pump !== null) await this.#pump;
    this.#isFlushing = false;
  }

  /**
   * Takes nothing more, sends what it has for at most `timeoutMs`, and returns the events whose storage is not known: their
   * `send` throws BatcherClosedError. Sending them again with their ids is safe.
   */
  async close(timeoutMs = 10_000): Promise<readonly IdentifiedEvent[]> {
    this.#isClosed = true;
    this.#wakeWaiting();
    const limit = setTimeout(() => this.#stop.abort(), timeoutMs);
    await this.flush();
    clearTimeout(limit);
    return this.#left;
  }

  /** Asked again right before an event goes into the queue, in the same turn: several callers wake at once. */
  #isFull(): boolean {
    if (this.#isClosed) throw new BatcherClosedError("the batcher is closed");
    return this.pending >= this.#options.maxQueue;
  }

  #room(): Promise<void> {
    return new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #enqueued(event: IdentifiedEvent): Promise<EventResult> {
    const settled = new Promise<EventResult>((resolve, reject) => this.#queue.push({ event, resolve, reject }));
    if (this.#queue.length >= this.#options.maxBatch) this.#linger?.abort();
    this.#pump ??= this.#run().finally(() => {
      this.#pump = null;
    });
    return settled;
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      await this.#company();
      const batch = this.#queue.splice(0, this.#options.maxBatch);
      this.#underWay = batch.length;
      await this.#deliver(batch);
      this.#underWay = 0;
      this.#wakeWaiting();
    }
  }

  /** Give others time to join, unless the request is full or somebody waits for the end. */
  async #company(): Promise<void> {
    if (this.#queue.length >= this.#options.maxBatch || this.#isFlushing || this.#isClosed) return;
    this.#linger = new AbortController();
    await sleep(this.#options.lingerMs, this.#linger.signal).catch(() => undefined); // cut short: go on at once
    this.#linger = null;
  }

  async #deliver(batch: readonly Entry[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      if (this.#stop.signal.aborted) return this.#giveUp(batch);
      try {
        const answer = await this.#send(batch.map((entry) => entry.event), this.#stop.signal);
        return settle(batch, answer);
      } catch (error) {
        if (this.#stop.signal.aborted) return this.#giveUp(batch);
        if (isRefusal(error)) return this.#refused(batch, error);
        await sleep(this.#delayMs(attempt, error), this.#stop.signal).catch(() => undefined); // closed: seen above
      }
    }
  }

  /** A request is refused whole if nothing in it can be stored: halves tell which event is to blame for what. */
  async #refused(batch: readonly Entry[], error: unknown): Promise<void> {
    const [only, ...others] = batch;
    if (others.length > 0 && isAboutEvents(error)) {
      const middle = Math.ceil(batch.length / 2);
      await this.#deliver(batch.slice(0, middle));
      return this.#deliver(batch.slice(middle));
    }
    const found = error instanceof InvalidRequestError ? error.errors[0] : undefined;
    if (found !== undefined && only !== undefined) {
      only.reject(new EventRejectedError(found.code, found.pointer.replace(/^#\//, "") || null));
    } else {
      for (const entry of batch) entry.reject(error);
    }
  }

  #delayMs(attempt: number, error: unknown): number {
    const longest = Math.min(this.#options.maxDelayMs, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
    const asked = error instanceof ProblemError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
    return Math.min(asked, this.#options.maxDelayMs) + this.#options.random() * longest;
  }

  #giveUp(batch: readonly Entry[]): void {
    for (const entry of batch) {
      this.#left.push(entry.event);
      entry.reject(new BatcherClosedError("closed before this event was known to be stored"));
    }
  }

  #wakeWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

function settle(batch: readonly Entry[], answer: EventsAnswer): void {
  const results = new Map(answer.results.map((result) => [result.index, result]));
  batch.forEach((entry, index) => {
    const result = results.get(index);
    if (result?.outcome === "accepted" || result?.outcome === "duplicate") entry.resolve(result);
    else entry.reject(new EventRejectedError(result?.reason ?? result?.outcome ?? "no_outcome", result?.field ?? null));
  });
}

/** What sending again does not change. Everything else is tried again: no answer, 429, 5xx. */
function isRefusal(error: unknown): boolean {
  if (error instanceof ConnectionError) return false;
  return !(error instanceof ProblemError) || (error.status < 500 && error.status !== 429 && error.status !== 408);
}

function isAboutEvents(error: unknown): boolean {
  return error instanceof InvalidRequestError || error instanceof ConflictError || error instanceof PermissionDeniedError;
}
