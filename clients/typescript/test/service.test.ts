// Against the real service.
import { describe, expect, inject, test } from "vitest";

import {
  AuthenticationError, ConflictError, ConnectionError, EncoreClient, EventRejectedError, InvalidRequestError, NotFoundError,
  PermissionDeniedError, RateLimitedError, UnavailableError, type LiveUpdate,
} from "../src/index.js";

const offer = inject("service");
const asAdmin = new EncoreClient({ baseUrl: offer.address, token: offer.admin_token });
const asUser = new EncoreClient({ baseUrl: `${offer.address}/`, token: () => Promise.resolve(offer.user_token) });
const asService = new EncoreClient({ baseUrl: offer.address, token: offer.api_key });
const now = (): string => new Date().toISOString();

const ask = async (command: string): Promise<{ event_ids: string[] }> =>
  (await (await fetch(`${offer.control}/${encodeURIComponent(command)}`)).json()) as { event_ids: string[] };

async function thrown(call: Promise<unknown>): Promise<unknown> {
  return call.then(() => expect.fail("nothing was thrown"), (error: unknown) => error);
}

describe("lists", () => {
  test("a page has lines with titles, and the next page continues it", async () => {
    const first = await asUser.lists.forUser(offer.user_id, { limit: 3, explain: true });
    expect(first.recommendations.map((line) => line.rank)).toEqual([1, 2, 3]);
    expect(first.recommendations[0]?.title).toMatch(/Crime|Comedy/);
    const second = await asUser.lists.forUser(offer.user_id, { limit: 3, explain: true, cursor: first.pagination.next_cursor! });
    expect(second.recommendations.map((line) => line.rank)).toEqual([4, 5, 6]);
  });

  test("iterating gives every item once", async () => {
    const ids: string[] = [];
    for await (const line of asUser.lists.all(offer.user_id, { limit: 7, offset: 0 })) ids.push(line.item_id);
    expect(ids.length).toBeGreaterThan(14);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("an unchanged list is asked for by its ETag and comes from memory", async () => {
    const statuses: number[] = [];
    const client = new EncoreClient({
      baseUrl: offer.address,
      token: offer.user_token,
      fetch: async (request) => {
        const response = await fetch(request);
        statuses.push(response.status);
        return response;
      },
    });
    const first = await client.lists.forUser(offer.user_id);
    const second = await client.lists.forUser(offer.user_id);
    expect(statuses).toEqual([200, 304]);
    expect(second.recommendations).toEqual(first.recommendations);
  });

  test("sessions, similar items, popular items, rules", async () => {
    const session = await asUser.lists.forSession({ history: ["crime-01", { item_id: "crime-02", weight: 2 }], limit: 4 });
    expect(session.recommendations).toHaveLength(4);
    expect((await asUser.lists.similar("crime-01", { limit: 2 })).recommendations).toHaveLength(2);
    expect((await asUser.lists.popular({ genre: "Comedy", limit: 2 })).recommendations[0]?.item_id).toMatch(/^comedy/);
    const pinned = await asService.lists.byRules(offer.user_id, {
      limit: 3,
      rules: [{ kind: "pin", name: "premiere", position: 1, select: { items: ["comedy-19"] } as never }],
    });
    expect(pinned.recommendations[0]?.item_id).toBe("comedy-19");
  });
});

describe("experiments", () => {
  test("one is drafted, started, seen in a list, stopped, and has results", async () => {
    const arms = [{ name: "control", share: 0.5 }, { name: "variety", share: 0.5, diversity: 0.5 }];
    const draft = await asAdmin.experiments.create({ name: "From TypeScript", share: 1, arms });
    expect(draft.status).toBe("draft");
    const started = await asAdmin.experiments.change(draft.id, { status: "running", revision: draft.revision });
    expect(started.status).toBe("running");
    expect(await thrown(asAdmin.experiments.change(draft.id, { status: "paused", revision: draft.revision }))).toBeInstanceOf(ConflictError);
    expect((await asAdmin.experiments.results(draft.id)).arms.map((arm) => arm.name)).toEqual(["control", "variety"]);
    expect((await asAdmin.experiments.change(draft.id, { status: "stopped" })).status).toBe("stopped");
    expect((await asAdmin.experiments.get(draft.id)).status).toBe("stopped");
    const ids: string[] = [];
    for await (const one of asAdmin.experiments.all({}, 1)) ids.push(one.id);
    expect(ids).toContain(draft.id);
    expect(await thrown(asUser.experiments.get(draft.id))).toBeInstanceOf(PermissionDeniedError);
  });
});

describe("live lists", () => {
  const watched = "live-reader";
  const rate = async (itemId: string): Promise<unknown> =>
    asService.events.send({ user_id: watched, video_id: itemId, rating: 5, timestamp: new Date(Date.now() - 60_000).toISOString() });

  test("the list comes, and again when it changes; who has it already waits", async () => {
    let last = "";
    let seen: string | undefined;
    for await (const { id, list } of asService.lists.live(watched, { limit: 5 })) {
      last = id;
      if (seen !== undefined) {
        expect(list.recommendations.map((line) => line.item_id)).not.toContain(seen);
        break;
      }
      seen = list.recommendations[0]!.item_id;
      await rate(seen);
    }
    const resumed = asService.lists.live(watched, { limit: 5 }, { lastId: last });
    const next = resumed.next();
    const newest = (await asService.lists.forUser(watched, { limit: 5 })).recommendations[0]!.item_id;
    await rate(newest);
    const update = await next;
    expect(update.done).toBe(false);
    expect((update.value as LiveUpdate).list.recommendations.map((line) => line.item_id)).not.toContain(newest);
    await resumed.return(undefined);
  });

  test("a signal ends it, and so does what no repetition would help", async () => {
    const stop = new AbortController();
    const lists = asService.lists.live(watched, {}, { signal: stop.signal });
    await lists.next();
    const waiting = lists.next();
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(await thrown(asUser.lists.live("somebody-else").next())).toBeInstanceOf(PermissionDeniedError);
    const unknown = new EncoreClient({ baseUrl: offer.address, token: "x" });
    expect(await thrown(unknown.lists.live(watched).next())).toBeInstanceOf(AuthenticationError);
  });
});

describe("catalogue, users, trainings, models", () => {
  test("an item is written, changed, listed, deleted", async () => {
    expect((await asAdmin.items.put("n1", { title: "New", year: 2026 })).title).toBe("New");
    expect((await asAdmin.items.patch("n1", { title: "Newer" })).title).toBe("Newer");
    expect((await asAdmin.items.putMany([{ item_id: "n2" }])).written).toBe(1);
    const ids: string[] = [];
    for await (const item of asAdmin.items.all({}, 10)) ids.push(item.item_id);
    expect(ids).toContain("n2");
    expect(ids.length).toBeGreaterThan(40);
    await asAdmin.items.delete("n1");
    expect(await thrown(asAdmin.items.get("n1"))).toBeInstanceOf(NotFoundError);
  });

  test("a user is written, listed, deleted", async () => {
    expect((await asAdmin.users.put("w1", { attributes: { country: "NL" } })).attributes).toEqual({ country: "NL" });
    expect((await asAdmin.users.putMany([{ user_id: "w2" }])).written).toBe(1);
    const ids: string[] = [];
    for await (const user of asAdmin.users.all({}, 1)) ids.push(user.user_id);
    expect(ids).toEqual(expect.arrayContaining(["w1", "w2"]));
    expect((await asAdmin.users.get("w1")).user_id).toBe("w1");
    const ordered = await asAdmin.users.delete("w1");
    expect((await asAdmin.users.erasure(ordered.erasure_id)).people).toBe(1);
  });

  test("a training starts once for a key, is found, is cancelled and ends", async () => {
    const started = await asAdmin.trainings.start({ model_type: "popular" }, { idempotencyKey: "k1" });
    const again = await asAdmin.trainings.start({ model_type: "popular" }, { idempotencyKey: "k1" });
    expect(again.training_id).toBe(started.training_id);
    const refused = await thrown(asAdmin.trainings.start({ model_type: "popular" }));
    if (refused instanceof ConflictError) expect(refused.document["training_id"]).toBe(started.training_id);
    await asAdmin.trainings.cancel(started.training_id);
    const ended = await asAdmin.trainings.wait(started.training_id, { pollMs: 100 });
    expect(["promoted", "rejected", "failed", "cancelled"]).toContain(ended.status);
    const ids: string[] = [];
    for await (const training of asAdmin.trainings.all()) ids.push(training.training_id);
    expect(ids).toContain(started.training_id);
  });

  test("models are listed and promoted; there is nothing to roll back to", async () => {
    const [champion] = await asAdmin.models.list({ type: "hybrid" });
    expect((await asAdmin.models.get(champion!.id)).status).toBe("champion");
    const promoted = await thrown(asAdmin.models.promote("nobody"));
    expect(promoted).toBeInstanceOf(NotFoundError);
    expect(await thrown(asAdmin.models.rollback("sequential"))).toMatchObject({ status: expect.any(Number) });
  });

  test("health", async () => {
    expect((await asUser.health()).status).toBe("ready");
  });
});

describe("problems are typed", () => {
  test("401, 403, 404, 409, 422", async () => {
    const stranger = new EncoreClient({ baseUrl: offer.address, token: "nonsense" });
    expect(await thrown(stranger.lists.forUser("u1"))).toBeInstanceOf(AuthenticationError);
    expect(await thrown(asUser.lists.forUser("somebody-else"))).toBeInstanceOf(PermissionDeniedError);
    const missing = await thrown(asUser.items.get("nothing"));
    expect(missing).toMatchObject({ status: 404, type: "urn:problem-type:encore:not-found", document: { resource: "item" } });
    const event = { event_id: crypto.randomUUID(), user_id: offer.user_id, video_id: "crime-07", rating: 4, timestamp: now() };
    await asUser.events.send(event);
    expect(await thrown(asUser.events.send({ ...event, rating: 1 }))).toBeInstanceOf(ConflictError);
    const invalid = await thrown(asUser.lists.forUser(offer.user_id, { limit: 1000 }));
    expect(invalid).toBeInstanceOf(InvalidRequestError);
    expect((invalid as InvalidRequestError).errors).toEqual([{ in: "query", pointer: "#/limit", code: "less_than_equal" }]);
    expect((invalid as Error).name).toBe("InvalidRequestError");
    expect((invalid as InvalidRequestError).requestId).toMatch(/^\w+/);
  });

  test("429 says when to come back; 503 too", async () => {
    const limited = new EncoreClient({ baseUrl: offer.limited_address, token: offer.user_token, retry: { retries: 0 } });
    const errors = await Promise.all(Array.from({ length: 12 }, () => limited.lists.popular().catch((error: unknown) => error)));
    const refused = errors.find((error) => error instanceof RateLimitedError);
    expect((refused as RateLimitedError).retryAfterSeconds).toBeGreaterThan(0);
    const away = new EncoreClient({ baseUrl: offer.away_address, token: offer.admin_token, retry: { retries: 0 } });
    const unavailable = await thrown(away.items.get("x"));
    expect(unavailable).toBeInstanceOf(UnavailableError);
    expect((unavailable as UnavailableError).retryAfterSeconds).toBeGreaterThan(0);
  });

  test("nobody there", async () => {
    const nowhere = new EncoreClient({ baseUrl: "http://127.0.0.1:1", token: "x", retry: { retries: 1, baseDelayMs: 1 } });
    expect(await thrown(nowhere.health())).toBeInstanceOf(ConnectionError);
    expect(await thrown(nowhere.lists.forUser("u1"))).toBeInstanceOf(ConnectionError);
  });
});

describe("the batcher", () => {
  test("a bad event is told apart from the good ones beside it", async () => {
    const batcher = asUser.events.batcher({ lingerMs: 20 });
    const event = { user_id: offer.user_id, video_id: "crime-09", rating: 5, timestamp: now() };
    const [good, bad, foreign] = await Promise.allSettled([
      batcher.send(event), batcher.send({ ...event, rating: 99 }), batcher.send({ ...event, user_id: "somebody-else" }),
    ]);
    expect(good).toMatchObject({ status: "fulfilled", value: { outcome: "accepted" } });
    expect((bad as PromiseRejectedResult).reason).toBeInstanceOf(EventRejectedError);
    expect((bad as PromiseRejectedResult).reason).toMatchObject({ reason: "rating_range" });
    expect((foreign as PromiseRejectedResult).reason).toBeInstanceOf(PermissionDeniedError);
    const lone = await thrown(batcher.send({ ...event, rating: 98 }));
    expect(lone).toBeInstanceOf(EventRejectedError);
    expect(await batcher.close()).toEqual([]);
  });

  test("the service is killed and started again under load: nothing acknowledged is lost, nothing counts twice", async () => {
    const unhandled: unknown[] = [];
    const hear = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", hear);
    const userId = `restarted-${Date.now()}`;
    const batcher = asAdmin.events.batcher({ maxBatch: 20, maxQueue: 60, lingerMs: 5, maxDelayMs: 300 });
    const acknowledged: string[] = [];
    const sent: Promise<unknown>[] = [];
    let highest = 0;
    const load = (async () => {
      for (let number = 0; number < 600; number++) {
        const event = { user_id: userId, item_id: `crime-${number % 20}`, kind: "view" as const, value: number, timestamp: now() };
        const identified = { ...event, event_id: crypto.randomUUID() };
        sent.push(batcher.send(identified).then(() => acknowledged.push(identified.event_id)));
        highest = Math.max(highest, batcher.pending);
        await new Promise((done) => setTimeout(done, 5));
      }
    })();
    for (let round = 0; round < 2; round++) {
      await new Promise((done) => setTimeout(done, 600));
      await ask("kill");
      await ask("start");
    }
    await load;
    await batcher.flush();
    await Promise.all(sent);
    const stored = (await ask(`stored ${userId}`)).event_ids;
    expect(acknowledged).toHaveLength(600);
    expect(stored.toSorted()).toEqual(acknowledged.toSorted());
    expect(highest).toBeLessThanOrEqual(60);
    expect(await batcher.close()).toEqual([]);
    expect(unhandled).toEqual([]);
    process.off("unhandledRejection", hear);
  });

  test("a live list resumes after the service was killed", async () => {
    const causes: unknown[] = [];
    const lists = asService.lists.live("live-restart", { limit: 3 }, { onReconnect: (cause) => causes.push(cause) });
    const first = await lists.next();
    const next = lists.next();
    await ask("kill");
    await ask("start");
    const items = (first.value as LiveUpdate).list.recommendations.map((line) => line.item_id);
    const event = { user_id: "live-restart", video_id: items[0]!, rating: 5, timestamp: new Date(Date.now() - 60_000).toISOString() };
    await asService.events.send(event);
    const update = (await next).value as LiveUpdate;
    expect(update.list.recommendations.map((line) => line.item_id)).not.toContain(items[0]);
    expect(causes.length).toBeGreaterThan(0);
    await lists.return(undefined);
  });
});
