/** The service's operations, in a few hand-made words over the generated types. */
import createFetchClient, { type Client } from "openapi-fetch";

import { EventBatcher, type BatcherOptions } from "./batcher.js";
import { problemOf } from "./errors.js";
import { withId, type EncoreEvent } from "./events.js";
import { liveList, type LiveOptions, type LiveQuery, type LiveSource, type LiveUpdate } from "./live.js";
import type * as schema from "./schema.js";
import { Transport, sleep, type CallOptions, type Repeatable, type RetryOptions } from "./transport.js";

type Query<Operation extends keyof schema.operations> = NonNullable<schema.operations[Operation]["parameters"]["query"]>;
/** A request body in which everything that the service has a default for may be left out. */
export type Input<Body> = { [Name in keyof Body]?: Body[Name] };

export type ListQuery = Query<"recommendForUser">;
export type PopularQuery = Query<"listPopularItems">;
export type SessionQuery = Input<schema.SessionBody> & Pick<schema.SessionBody, "history">;
export type RuledQuery = Input<schema.RuledBody>;

export interface EncoreOptions {
  /** Where the service is, for instance `https://recs.example.com`. */
  baseUrl: string;
  /** A token or an API key, or what gives one; asked before every request, so that it may be renewed. */
  token: string | (() => string | Promise<string>);
  /** For each try, in milliseconds. */
  timeoutMs?: number;
  retry?: Partial<RetryOptions>;
  /** Answers kept to ask the service only whether they have changed; 0 keeps none. */
  etagEntries?: number;
  /** Instead of the global `fetch`. */
  fetch?: (request: Request) => Promise<Response>;
  /** From 0 to 1, for waits. */
  random?: () => number;
}

const RETRY: RetryOptions = { retries: 3, baseDelayMs: 200, maxDelayMs: 10_000 };
const PAGE = 100;

type Api = Client<schema.paths>;
type Init = { fetch: (request: Request) => Promise<Response>; signal?: AbortSignal };

/** What the parts of the client share. */
interface Calls {
  api: Api;
  init: (repeatable: Repeatable, call: CallOptions) => Init;
  live: LiveSource;
}

/** What a success holds; `init` has thrown everything else. */
async function data<Data>(answer: Promise<{ data?: Data; response: Response }>): Promise<Data> {
  return (await answer).data as Data;
}

export class EncoreClient {
  readonly lists: Lists;
  readonly events: Events;
  readonly items: Items;
  readonly users: Users;
  readonly trainings: Trainings;
  readonly models: Models;
  readonly experiments: Experiments;
  readonly #calls: Calls;

  constructor(options: EncoreOptions) {
    const send = options.fetch ?? ((request: Request) => globalThis.fetch(request));
    const transport = new Transport({
      fetch: send,
      timeoutMs: options.timeoutMs ?? 10_000,
      retry: { ...RETRY, ...options.retry },
      etagEntries: options.etagEntries ?? 100,
      random: options.random ?? Math.random,
    });
    const baseUrl = options.baseUrl.replace(/\/+$/, "");
    const api = createFetchClient<schema.paths>({ baseUrl });
    const { token } = options;
    const tokenNow = async (): Promise<string> => (typeof token === "string" ? token : await token());
    this.#calls = {
      api,
      live: { baseUrl, token: tokenNow, fetch: send, random: options.random ?? Math.random },
      init: (repeatable, call) => {
        const sendRepeatedly = transport.sender(repeatable, call);
        return {
          fetch: async (request) => {
            request.headers.set("authorization", `Bearer ${await tokenNow()}`);
            const response = await sendRepeatedly(request);
            if (!response.ok) throw await problemOf(response);
            return response;
          },
          ...(call.signal === undefined ? {} : { signal: call.signal }),
        };
      },
    };
    this.lists = new Lists(this.#calls);
    this.events = new Events(this.#calls);
    this.items = new Items(this.#calls);
    this.users = new Users(this.#calls);
    this.trainings = new Trainings(this.#calls);
    this.models = new Models(this.#calls);
    this.experiments = new Experiments(this.#calls);
  }

  /** The state of the service and of each part of it. Throws UnavailableError while no list can be served. */
  async health(call: CallOptions = {}): Promise<schema.Health> {
    return data(this.#calls.api.GET("/health/ready", this.#calls.init("always", { retries: 0, ...call })));
  }
}

class Lists {
  constructor(private readonly calls: Calls) {}

  /** A page of a user's list. Asked again, an unchanged list is not sent again (ETag). */
  async forUser(userId: string, query: ListQuery = {}, call: CallOptions = {}): Promise<schema.ListAnswer> {
    const params = { path: { user_id: userId }, query };
    return data(this.calls.api.GET("/api/v1/recs/{user_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Every page of a user's list, following cursors. No item comes twice: a cursor carries the rest of its list. */
  async *pages(userId: string, query: Omit<ListQuery, "cursor"> = {}, call: CallOptions = {}): AsyncGenerator<schema.ListAnswer> {
    let page = await this.forUser(userId, query, call);
    yield page;
    while (page.pagination.next_cursor !== null) {
      const { offset: _, ...rest } = query; // the cursor says where
      page = await this.forUser(userId, { ...rest, cursor: page.pagination.next_cursor }, call);
      yield page;
    }
  }

  /** Every line of a user's list, a page at a time. */
  async *all(userId: string, query: Omit<ListQuery, "cursor"> = {}, call: CallOptions = {}): AsyncGenerator<schema.Recommendation> {
    for await (const page of this.pages(userId, query, call)) yield* page.recommendations;
  }

  /**
   * A user's list now, and again each time it changes, until the signal or a `break` ends it. Connections that end are
   * opened again, with the id of the last list: nothing is missed, and nothing comes twice. Throws what a repetition
   * would not help (401, 403, 422).
   */
  live(userId: string, query: LiveQuery = {}, options: LiveOptions = {}): AsyncGenerator<LiveUpdate> {
    return liveList(this.calls.live, userId, query, options);
  }

  /** A user's list under rules of one's own: for services. */
  async byRules(userId: string, query: RuledQuery, call: CallOptions = {}): Promise<schema.ListAnswer> {
    const params = { path: { user_id: userId } };
    const body = query as schema.RuledBody;
    return data(this.calls.api.POST("/api/v1/recs/{user_id}", { params, body, ...this.calls.init("always", call) }));
  }

  /** A list for somebody without an id: the history travels in the request, newest first. */
  async forSession(query: SessionQuery, call: CallOptions = {}): Promise<schema.ListAnswer> {
    const body = query as schema.SessionBody;
    return data(this.calls.api.POST("/api/v1/recs/session", { body, ...this.calls.init("always", call) }));
  }

  /** Items like this one. */
  async similar(itemId: string, query: Query<"listSimilarItems"> = {}, call: CallOptions = {}): Promise<schema.ListAnswer> {
    const params = { path: { item_id: itemId }, query };
    return data(this.calls.api.GET("/api/v1/items/{item_id}/similar", { params, ...this.calls.init("always", call) }));
  }

  /** What most people use. */
  async popular(query: PopularQuery = {}, call: CallOptions = {}): Promise<schema.ListAnswer> {
    return data(this.calls.api.GET("/api/v1/items/popular", { params: { query }, ...this.calls.init("always", call) }));
  }
}

class Events {
  constructor(private readonly calls: Calls) {}

  /**
   * Send events now; the outcome of each comes back. Each gets an id unless it has one, so that a repetition counts once.
   * Throws InvalidRequestError or ConflictError if none of them could be taken in.
   */
  async send(events: EncoreEvent | readonly EncoreEvent[], call: CallOptions = {}): Promise<schema.EventsAnswer> {
    const body = (Array.isArray(events) ? events : [events]).map((event: EncoreEvent) => withId(event));
    return data(this.calls.api.POST("/api/v1/events", { body, ...this.calls.init("always", call) }));
  }

  /** Events one by one in, few requests out. */
  batcher(options: BatcherOptions = {}): EventBatcher {
    return new EventBatcher((events, signal) => this.send(events, { signal, retries: 0 }), options);
  }
}

class Items {
  constructor(private readonly calls: Calls) {}

  async get(itemId: string, call: CallOptions = {}): Promise<schema.ItemAnswer> {
    const params = { path: { item_id: itemId } };
    return data(this.calls.api.GET("/api/v1/items/{item_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Write an entry whole. */
  async put(itemId: string, item: Input<schema.ItemBody>, call: CallOptions = {}): Promise<schema.ItemAnswer> {
    const params = { path: { item_id: itemId } };
    const body = item as schema.ItemBody;
    return data(this.calls.api.PUT("/api/v1/items/{item_id}", { params, body, ...this.calls.init("always", call) }));
  }

  /** Change some fields: what is absent stays, null empties. */
  async patch(itemId: string, changes: schema.ItemPatch, call: CallOptions = {}): Promise<schema.ItemAnswer> {
    const params = { path: { item_id: itemId } };
    return data(this.calls.api.PATCH("/api/v1/items/{item_id}", { params, body: changes, ...this.calls.init("always", call) }));
  }

  /** Write many entries in one transaction, at most 1,000. */
  async putMany(items: readonly (Input<schema.BulkItem> & { item_id: string })[], call: CallOptions = {}): Promise<schema.BulkAnswer> {
    const body = { items: items as schema.BulkItem[] };
    return data(this.calls.api.POST("/api/v1/items/bulk", { body, ...this.calls.init("always", call) }));
  }

  async delete(itemId: string, call: CallOptions = {}): Promise<void> {
    const params = { path: { item_id: itemId } };
    await data(this.calls.api.DELETE("/api/v1/items/{item_id}", { params, ...this.calls.init("always", call) }));
  }

  /** The whole catalogue by item id, a page at a time. */
  all(call: CallOptions = {}, limit: number = PAGE): AsyncGenerator<schema.ItemAnswer> {
    return walk(async (cursor) => {
      const params = { query: { limit, ...(cursor === null ? {} : { cursor }) } };
      const page = await data(this.calls.api.GET("/api/v1/items", { params, ...this.calls.init("always", call) }));
      return { entries: page.items, next: page.pagination.next_cursor };
    });
  }
}

class Users {
  constructor(private readonly calls: Calls) {}

  async get(userId: string, call: CallOptions = {}): Promise<schema.UserAnswer> {
    const params = { path: { user_id: userId } };
    return data(this.calls.api.GET("/api/v1/users/{user_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Write a profile whole. */
  async put(userId: string, user: Input<schema.UserBody>, call: CallOptions = {}): Promise<schema.UserAnswer> {
    const params = { path: { user_id: userId } };
    const body = user as schema.UserBody;
    return data(this.calls.api.PUT("/api/v1/users/{user_id}", { params, body, ...this.calls.init("always", call) }));
  }

  /** Write many profiles in one transaction, at most 1,000. */
  async putMany(users: readonly (Input<schema.BulkUser> & { user_id: string })[], call: CallOptions = {}): Promise<schema.BulkAnswer> {
    const body = { users: users as schema.BulkUser[] };
    return data(this.calls.api.POST("/api/v1/users/bulk", { body, ...this.calls.init("always", call) }));
  }

  /** Forget a user: everything the user ever did, lists shown, and what is cached anywhere; `erasure` shows the rest. */
  async delete(userId: string, call: CallOptions = {}): Promise<schema.ErasureAnswer> {
    const params = { path: { user_id: userId } };
    return data(this.calls.api.DELETE("/api/v1/users/{user_id}", { params, ...this.calls.init("always", call) }));
  }

  /** How far an erasure is; once it is done, its certificate. */
  async erasure(erasureId: string, call: CallOptions = {}): Promise<schema.ErasureAnswer> {
    const params = { path: { erasure_id: erasureId } };
    return data(this.calls.api.GET("/api/v1/erasures/{erasure_id}", { params, ...this.calls.init("always", call) }));
  }

  /** All profiles by user id, a page at a time. For services. */
  all(call: CallOptions = {}, limit: number = PAGE): AsyncGenerator<schema.UserAnswer> {
    return walk(async (cursor) => {
      const params = { query: { limit, ...(cursor === null ? {} : { cursor }) } };
      const page = await data(this.calls.api.GET("/api/v1/users", { params, ...this.calls.init("always", call) }));
      return { entries: page.users, next: page.pagination.next_cursor };
    });
  }
}

/** States in which a training stays. */
const ENDED: ReadonlySet<string> = new Set(["promoted", "rejected", "failed", "cancelled"]);

class Trainings {
  constructor(private readonly calls: Calls) {}

  /** Queue a training. ConflictError names the one that runs (`document.training_id`). A repetition starts no second. */
  async start(
    request: Input<schema.TrainBody> & Pick<schema.TrainBody, "model_type">,
    call: CallOptions & { idempotencyKey?: string } = {},
  ): Promise<schema.TrainingAnswer> {
    const params = { header: { "idempotency-key": call.idempotencyKey ?? globalThis.crypto.randomUUID() } };
    return data(this.calls.api.POST("/api/v1/recs/train", { params, body: request, ...this.calls.init("always", call) }));
  }

  async get(trainingId: string, call: CallOptions = {}): Promise<schema.TrainingAnswer> {
    const params = { path: { training_id: trainingId } };
    return data(this.calls.api.GET("/api/v1/recs/train/{training_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Ask it to stop. */
  async cancel(trainingId: string, call: CallOptions = {}): Promise<schema.TrainingAnswer> {
    const params = { path: { training_id: trainingId } };
    return data(this.calls.api.DELETE("/api/v1/recs/train/{training_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Trainings, newest first, a page at a time. */
  all(call: CallOptions = {}, limit: number = PAGE): AsyncGenerator<schema.TrainingAnswer> {
    return walk(async (cursor) => {
      const params = { query: { limit, ...(cursor === null ? {} : { cursor }) } };
      const page = await data(this.calls.api.GET("/api/v1/recs/train", { params, ...this.calls.init("always", call) }));
      return { entries: page.trainings, next: page.pagination.next_cursor };
    });
  }

  /** Resolves when the training has ended, however; asks every `pollMs`. A signal ends the waiting, not the training. */
  async wait(trainingId: string, call: CallOptions & { pollMs?: number } = {}): Promise<schema.TrainingAnswer> {
    for (;;) {
      const training = await this.get(trainingId, call);
      if (ENDED.has(training.status)) return training;
      await sleep(call.pollMs ?? 5_000, call.signal);
    }
  }
}

class Models {
  constructor(private readonly calls: Calls) {}

  /** Versions, newest first. */
  async list(query: Query<"listModels"> = {}, call: CallOptions = {}): Promise<schema.ModelAnswer[]> {
    const answer = await data(this.calls.api.GET("/api/v1/recs/models", { params: { query }, ...this.calls.init("always", call) }));
    return answer.models;
  }

  async get(modelId: string, call: CallOptions = {}): Promise<schema.ModelAnswer> {
    const params = { path: { model_id: modelId } };
    return data(this.calls.api.GET("/api/v1/recs/models/{model_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Make a version the champion. Not repeated after an unclear failure: somebody else may have promoted meanwhile. */
  async promote(modelId: string, call: CallOptions = {}): Promise<schema.ChampionAnswer> {
    const params = { path: { model_id: modelId } };
    return data(this.calls.api.POST("/api/v1/recs/models/{model_id}/promote", { params, ...this.calls.init("refused", call) }));
  }

  /** Go back to the version before. Not repeated after an unclear failure: that would go back two. */
  async rollback(modelType?: schema.RollbackBody["model_type"], call: CallOptions = {}): Promise<schema.ChampionAnswer> {
    const body = modelType === undefined ? {} : { model_type: modelType };
    return data(this.calls.api.POST("/api/v1/recs/models/rollback", { body: body as schema.RollbackBody, ...this.calls.init("refused", call) }));
  }
}

class Experiments {
  constructor(private readonly calls: Calls) {}

  /** A draft: nobody is in it until it is started. Not repeated after an unclear failure: that would make two. */
  async create(
    experiment: Input<schema.ExperimentBody> & Pick<schema.ExperimentBody, "name" | "share"> & { arms: readonly ArmInput[] },
    call: CallOptions = {},
  ): Promise<schema.ExperimentAnswer> {
    const body = experiment as schema.ExperimentBody;
    return data(this.calls.api.POST("/api/v1/recs/experiments", { body, ...this.calls.init("refused", call) }));
  }

  async get(experimentId: string, call: CallOptions = {}): Promise<schema.ExperimentAnswer> {
    const params = { path: { experiment_id: experimentId } };
    return data(this.calls.api.GET("/api/v1/recs/experiments/{experiment_id}", { params, ...this.calls.init("always", call) }));
  }

  /** Start, pause or stop it, or let its share grow. With `revision`: only if it is still the one you have seen. */
  async change(experimentId: string, change: Input<schema.ExperimentChange>, call: CallOptions = {}): Promise<schema.ExperimentAnswer> {
    const params = { path: { experiment_id: experimentId } };
    const body = change as schema.ExperimentChange;
    return data(this.calls.api.PATCH("/api/v1/recs/experiments/{experiment_id}", { params, body, ...this.calls.init("refused", call) }));
  }

  /** Which arm is better, at any time one looks. */
  async results(experimentId: string, call: CallOptions = {}): Promise<schema.ResultsAnswer> {
    const params = { path: { experiment_id: experimentId } };
    return data(this.calls.api.GET("/api/v1/recs/experiments/{experiment_id}/results", { params, ...this.calls.init("always", call) }));
  }

  /** Experiments, newest first, a page at a time. */
  all(call: CallOptions = {}, limit: number = PAGE): AsyncGenerator<schema.ExperimentAnswer> {
    return walk(async (cursor) => {
      const params = { query: { limit, ...(cursor === null ? {} : { cursor }) } };
      const page = await data(this.calls.api.GET("/api/v1/recs/experiments", { params, ...this.calls.init("always", call) }));
      return { entries: page.experiments, next: page.pagination.next_cursor };
    });
  }
}

type ArmInput = Input<schema.ArmBody> & Pick<schema.ArmBody, "name" | "share">;

export type { Lists, Events, Items, Users, Trainings, Models, Experiments };

async function* walk<Entry>(page: (cursor: string | null) => Promise<{ entries: Entry[]; next: string | null }>): AsyncGenerator<Entry> {
  let cursor: string | null = null;
  do {
    const { entries, next }: { entries: Entry[]; next: string | null } = await page(cursor);
    yield* entries;
    cursor = next;
  } while (cursor !== null);
}
