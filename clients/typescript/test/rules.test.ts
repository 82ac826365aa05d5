// What no running service shows at will: slow, broken and strange answers, on an injected fetch.
import { describe, expect, test } from "vitest";

import {
  BatcherClosedError, EncoreClient, PermissionDeniedError, RateLimitedError, ServerError, TimeoutError, UnavailableError,
  retryAfter, type EncoreOptions,
} from "../src/index.js";

const LIST = { recommendations: [], pagination: { next_cursor: null } };
const EVENT = { user_id: "u1", item_id: "v1", kind: "view" as const, timestamp: 0 };

interface Sent { method: string; url: string; body: string }

function answering(answers: ((sent: Sent) => Response | Promise<Response>)[], more: Partial<EncoreOptions> = {}) {
  const sent: Sent[] = [];
  const client = new EncoreClient({
    baseUrl: "http://encore.test",
    token: "t",
    random: () => 0,
    retry: { retries: 3, baseDelayMs: 1, maxDelayMs: 1_000 },
    fetch: async (request) => {
      const entry = { method: request.method, url: request.url, body: await request.text() };
      sent.push(entry);
      return answers[Math.min(sent.length, answers.length) - 1]!(entry);
    },
    ...more,
  });
  return { client, sent };
}

const json = (body: unknown, status = 200, headers: Record<string, string> = {}) => () =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
const refused = (): never => { throw new TypeError("fetch failed"); };
const stored = (sent: Sent): Response => {
  const events = JSON.parse(sent.body) as { event_id: string }[];
  return json({ results: events.map((event, index) => ({ index, outcome: "accepted", event_id: event.event_id, reason: null, field: null })) }, 202)();
};
const thrown = (call: Promise<unknown>): Promise<unknown> => call.then(() => expect.fail("nothing was thrown"), (error: unknown) => error);

describe("what is sent again", () => {
  test("reads, after no answer, 503 and 429", async () => {
    const { client, sent } = answering([refused, json({}, 503), json({}, 429, { "retry-after": "0" }), json(LIST)]);
    await client.lists.popular();
    expect(sent).toHaveLength(4);
  });

  test("a session list too: it changes nothing", async () => {
    const { client, sent } = answering([json({}, 503), json(LIST)]);
    await client.lists.forSession({ history: [] });
    expect(sent[0]).toEqual(sent[1]);
  });

  test("a rollback only when it was refused before anything was done", async () => {
    const unclear = answering([json({}, 503)]);
    expect(await thrown(unclear.client.models.rollback())).toBeInstanceOf(UnavailableError);
    expect(unclear.sent).toHaveLength(1);
    const lost = answering([refused]);
    await thrown(lost.client.models.promote("m"));
    expect(lost.sent).toHaveLength(1);
    const limited = answering([json({}, 429), json({ epoch: 1 })]);
    await limited.client.models.rollback();
    expect(limited.sent).toHaveLength(2);
  });

  test("events and trainings with the very same ids", async () => {
    const events = answering([refused, stored]);
    await events.client.events.send([EVENT]);
    expect(events.sent[0]!.body).toContain("event_id");
    expect(events.sent[1]).toEqual(events.sent[0]);
  });

  test("as often as asked, then the last refusal is thrown", async () => {
    const { client, sent } = answering([json({}, 500)]);
    expect(await thrown(client.lists.popular({}, { retries: 1 }))).toBeInstanceOf(ServerError);
    expect(sent).toHaveLength(2);
  });

  test("not at all where the service asks for more patience than we have", async () => {
    const { client, sent } = answering([json({}, 429, { "retry-after": "60" })]);
    expect(await thrown(client.lists.popular())).toMatchObject({ retryAfterSeconds: 60 });
    expect(sent).toHaveLength(1);
  });
});

describe("time", () => {
  const never = (request: Request): Promise<Response> =>
    new Promise((_, reject) => request.signal.addEventListener("abort", () => reject(request.signal.reason)));

  test("an answer that does not come in time", async () => {
    const client = new EncoreClient({ baseUrl: "http://encore.test", token: "t", fetch: never, timeoutMs: 20, retry: { retries: 0 } });
    expect(await thrown(client.lists.popular())).toBeInstanceOf(TimeoutError);
  });

  test("an AbortSignal ends a request and a wait, with its own reason", async () => {
    const client = new EncoreClient({ baseUrl: "http://encore.test", token: "t", fetch: never });
    const reason = new Error("left the page");
    const controller = new AbortController();
    const call = thrown(client.lists.popular({}, { signal: controller.signal }));
    setTimeout(() => controller.abort(reason), 10);
    expect(await call).toBe(reason);
    const waiting = answering([json({}, 503, { "retry-after": "1" })]);
    const second = new AbortController();
    setTimeout(() => second.abort(reason), 30);
    expect(await thrown(waiting.client.lists.popular({}, { signal: second.signal }))).toBe(reason);
    expect(waiting.sent).toHaveLength(1);
  });

  test("Retry-After in seconds and as a date", () => {
    const header = (value: string) => new Response(null, { headers: { "retry-after": value } });
    expect(retryAfter(header("7"))).toBe(7);
    expect(retryAfter(header("Thu, 01 Jan 1970 00:00:10 GMT"), 4_000)).toBe(6);
    expect(retryAfter(header("soon"))).toBeNull();
    expect(retryAfter(new Response(null))).toBeNull();
  });
});

test("an answer that is no problem document is a typed error all the same", async () => {
  const page = answering([() => new Response("<html>", { status: 403 })]);
  expect(await thrown(page.client.lists.popular())).toBeInstanceOf(PermissionDeniedError);
  const list = answering([json([1], 429, { "retry-after": "60" })]);
  expect(await thrown(list.client.lists.popular())).toBeInstanceOf(RateLimitedError);
});

test("answers are remembered up to a number, per caller", async () => {
  const { client, sent } = answering([json(LIST, 200, { etag: '"1"' })], { etagEntries: 1 });
  await client.lists.popular({ limit: 1 });
  await client.lists.popular({ limit: 2 });
  await client.lists.popular({ limit: 1 });
  expect(sent).toHaveLength(3);
});

describe("the batcher", () => {
  test("fills requests, in order", async () => {
    const { client, sent } = answering([stored]);
    const batcher = client.events.batcher({ maxBatch: 3, lingerMs: 1 });
    await Promise.all(Array.from({ length: 7 }, (_, value) => batcher.send({ ...EVENT, value })));
    const values = sent.map((request) => (JSON.parse(request.body) as { value: number }[]).map((event) => event.value));
    expect(values).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
  });

  test("takes no more than it has room for until some are stored", async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => { open = resolve; });
    const { client } = answering([async (sent) => { await gate; return stored(sent); }]);
    const batcher = client.events.batcher({ maxBatch: 2, maxQueue: 4, lingerMs: 0 });
    const taken: number[] = [];
    let highest = 0;
    const pushes = Array.from({ length: 20 }, async (_, value) => {
      await batcher.push({ ...EVENT, value });
      taken.push(value);
      highest = Math.max(highest, batcher.pending);
    });
    await new Promise((done) => setTimeout(done, 20));
    expect(taken).toEqual([0, 1, 2, 3]);
    open();
    await Promise.all(pushes);
    await batcher.flush();
    expect(highest).toBe(4); // also when many wait for the same room
    expect(batcher.pending).toBe(0);
  });

  test("closing while the service is away names the events whose storage is not known", async () => {
    const { client, sent } = answering([json({}, 503)]);
    const batcher = client.events.batcher({ lingerMs: 0, maxDelayMs: 5 });
    const waiting = thrown(batcher.send({ ...EVENT, event_id: "a" }));
    expect(await batcher.close(40)).toMatchObject([{ event_id: "a" }]);
    expect(await waiting).toBeInstanceOf(BatcherClosedError);
    expect(await thrown(batcher.push(EVENT))).toBeInstanceOf(BatcherClosedError);
    expect(sent.length).toBeGreaterThan(1);
  });

  test("flush does not wait for company", async () => {
    const { client } = answering([stored]);
    const batcher = client.events.batcher({ lingerMs: 60_000 });
    const id = await batcher.push(EVENT);
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    await batcher.flush();
    expect(batcher.pending).toBe(0);
  });

  test("refusals of pushed events are told, and throw nowhere", async () => {
    const { client } = answering([json({}, 401)]);
    const told: unknown[] = [];
    const batcher = client.events.batcher({ lingerMs: 0, onRejected: (event, error) => told.push([event.user_id, (error as Error).name]) });
    await batcher.push(EVENT);
    await batcher.flush();
    expect(told).toEqual([["u1", "AuthenticationError"]]);
  });

  test("impossible sizes are refused", () => {
    const { client } = answering([stored]);
    expect(() => client.events.batcher({ maxBatch: 0 })).toThrow(RangeError);
    expect(() => client.events.batcher({ maxBatch: 10, maxQueue: 5 })).toThrow(RangeError);
  });
});
