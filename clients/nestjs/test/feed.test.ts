// The example application over the real service.
import "reflect-metadata";
import type { EncoreEvent } from "@encore-recs/client";
import { EncoreClient } from "@encore-recs/client";
import { Module, type INestApplication } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Test } from "@nestjs/testing";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";

import { EncoreErrorFilter, FeedApplication } from "../example/app";
import { EncoreModule, EncoreService, EventPublisher, KafkaEventPublisher, topicOf, type FeedPage } from "../src";

const offer = inject("service");
const now = (): string => new Date().toISOString();

async function listening(baseUrl: string, token: string): Promise<{ app: INestApplication; address: string }> {
  const app = await NestFactory.create(
    FeedApplication.with({ baseUrl, token, retry: { retries: 0 }, events: { transport: "http", batcher: { lingerMs: 5, maxDelayMs: 300 } } }),
    { logger: false },
  );
  app.useGlobalFilters(new EncoreErrorFilter());
  app.enableShutdownHooks();
  await app.listen(0, "127.0.0.1");
  return { app, address: (await app.getUrl()).replace("[::1]", "127.0.0.1") };
}

describe("a feed with infinite scroll", () => {
  let app: INestApplication;
  let address: string;
  beforeAll(async () => ({ app, address } = await listening(offer.address, offer.api_key)));
  afterAll(() => app.close());

  const get = async (path: string): Promise<{ status: number; body: any }> => {
    const response = await fetch(`${address}${path}`);
    return { status: response.status, body: await response.json() };
  };
  const post = (event: unknown): Promise<Response> =>
    fetch(`${address}/events`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(event) });

  test("pages repeat nothing while events come in", async () => {
    const seen: string[] = [];
    let cursor = "";
    do {
      const { status, body } = await get(`/feed/${offer.user_id}?limit=5${cursor}`);
      expect(status).toBe(200);
      const page = body as FeedPage;
      seen.push(...page.recommendations.map((line) => line.item_id));
      const event = { user_id: offer.user_id, video_id: page.recommendations[0]?.item_id ?? "crime-01", rating: 5, timestamp: now() };
      const answer = await post(event);
      expect(answer.status).toBe(202);
      expect(((await answer.json()) as { eventId: string }).eventId).toMatch(/^[0-9a-f-]{36}$/);
      cursor = page.pagination.nextCursor === null ? "" : `&cursor=${page.pagination.nextCursor}`;
    } while (cursor !== "");
    expect(seen.length).toBeGreaterThan(10);
    expect(new Set(seen).size).toBe(seen.length);
  });

  test("a cursor that is not ours is a bad request", async () => {
    expect(await get(`/feed/${offer.user_id}?cursor=nonsense`)).toMatchObject({ status: 400, body: { error: "InvalidRequestError" } });
  });

  test("the signature of today: user, limit, offset", async () => {
    const { body } = await get("/recommendations/comedy-fan-2?limit=4&offset=2");
    expect((body as FeedPage).recommendations.map((line) => line.rank)).toEqual([3, 4, 5, 6]);
    expect((body as FeedPage).pagination).toMatchObject({ limit: 4, offset: 2, hasMore: true });
  });

  test("what Encore refuses keeps its status and its type", async () => {
    expect(await get(`/feed/${offer.user_id}?limit=1000`)).toMatchObject({ status: 422, body: { error: "InvalidRequestError" } });
    const rejected = await post({ user_id: offer.user_id, video_id: "crime-01", rating: 77, timestamp: now() });
    expect([rejected.status, await rejected.json()]).toMatchObject([422, { error: "EventRejectedError" }]);
    const event = { event_id: crypto.randomUUID(), user_id: offer.user_id, video_id: "crime-02", rating: 4, timestamp: now() };
    expect((await post(event)).status).toBe(202);
    expect((await post({ ...event, rating: 1 })).status).toBe(409);
  });

  test("health is up with Encore", async () => {
    expect(await get("/health")).toMatchObject({ status: 200, body: { details: { encore: { status: "up", state: "ready" } } } });
  });

  test("the service killed and started again under load: every acknowledged event is stored, once", async () => {
    const ask = async (command: string): Promise<{ event_ids: string[] }> =>
      (await (await fetch(`${offer.control}/${encodeURIComponent(command)}`)).json()) as { event_ids: string[] };
    const userId = `nest-${Date.now()}`;
    const ids: string[] = [];
    const sends: Promise<void>[] = [];
    const load = (async () => {
      for (let number = 0; number < 200; number++) {
        const event = { user_id: userId, item_id: `crime-0${number % 10}`, kind: "view", value: number, timestamp: now() };
        sends.push(post(event).then(async (answer) => {
          expect(answer.status).toBe(202);
          ids.push(((await answer.json()) as { eventId: string }).eventId);
        }));
        await new Promise((done) => setTimeout(done, 8));
      }
    })();
    await new Promise((done) => setTimeout(done, 500));
    await ask("kill");
    await ask("start");
    await load;
    await Promise.all(sends);
    expect((await ask(`stored ${userId}`)).event_ids.toSorted()).toEqual(ids.toSorted());
    expect(ids).toHaveLength(200);
  });
});

test("401, 403, 429 and 503 of Encore pass through with their types; health is down without Encore", async () => {
  const cases: [string, string, string, number, string][] = [
    [offer.address, "nonsense", "/feed/u1", 401, "AuthenticationError"],
    [offer.address, offer.other_token, `/feed/${offer.user_id}`, 403, "PermissionDeniedError"],
    ["http://127.0.0.1:1", "x", "/feed/u1", 503, "ConnectionError"],
  ];
  for (const [baseUrl, token, path, status, error] of cases) {
    const { app, address } = await listening(baseUrl, token);
    const answer = await fetch(`${address}${path}`);
    expect([answer.status, await answer.json()]).toMatchObject([status, { error }]);
    if (status === 503) expect((await fetch(`${address}/health`)).status).toBe(503);
    await app.close();
  }
  const { app, address } = await listening(offer.limited_address, offer.user_token);
  const statuses = await Promise.all(Array.from({ length: 12 }, async () => (await fetch(`${address}/feed/${offer.user_id}`)).status));
  expect(new Set(statuses)).toEqual(new Set([200, 429]));
  await app.close();
});

test("options may come from other providers", async () => {
  @Module({ providers: [{ provide: "ADDRESS", useValue: offer.address }], exports: ["ADDRESS"] })
  class Settings {}
  const made = await Test.createTestingModule({
    imports: [
      EncoreModule.forRootAsync({
        imports: [Settings],
        inject: ["ADDRESS"],
        useFactory: (baseUrl: string) => ({ baseUrl, token: offer.api_key }),
        isGlobal: false,
      }),
    ],
  }).compile();
  expect((await made.get(EncoreService).getUserRecommendations(offer.user_id, 2)).recommendations).toHaveLength(2);
  expect(made.get(EncoreClient)).toBeInstanceOf(EncoreClient);
  const id = await made.get(EventPublisher).publish({ user_id: offer.user_id, item_id: "crime-03", kind: "view", timestamp: now() });
  await made.get(EventPublisher).flush();
  expect(id).toMatch(/-/);
  await made.close();
});

describe("events to Kafka", () => {
  test("go to the topic of their type, keyed by user, with an id", async () => {
    const sent: any[] = [];
    const publisher = new KafkaEventPublisher({ send: async (record) => void sent.push(record) });
    const id = await publisher.publish({ user_id: "u1", video_id: "v1", rating: 4, timestamp: 1 });
    expect(sent).toMatchObject([{ topic: "profile-service.video-rated", acks: -1, messages: [{ key: "u1" }] }]);
    expect(JSON.parse(sent[0].messages[0].value)).toMatchObject({ event_id: id, rating: 4 });
    await publisher.flush();
    await publisher.close(10);
  });

  test("every type has a topic or says that it has none", () => {
    const watched: EncoreEvent = { user_id: "u", video_id: "v", watched_duration: 1, total_duration: 2, timestamp: 1 };
    expect(topicOf(watched)).toBe("analytics-service.video-watched");
    expect(topicOf({ user_id: "u", video_id: "v", action: "added", timestamp: 1 })).toBe("profile-service.watchlist-updated");
    expect(() => topicOf({ user_id: "u", item_id: "v", kind: "view", timestamp: 1 })).toThrow(RangeError);
  });

  test("the module takes a producer", async () => {
    const sent: unknown[] = [];
    const made = await Test.createTestingModule({
      imports: [EncoreModule.forRoot({ baseUrl: offer.address, token: "x", events: { transport: "kafka", producer: { send: async (r) => void sent.push(r) } } })],
    }).compile();
    await made.get(EventPublisher).publishAndWait({ user_id: "u", video_id: "v", action: "added", timestamp: 1 });
    await made.close();
    expect(sent).toHaveLength(1);
  });
});
