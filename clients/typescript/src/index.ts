export { EncoreClient } from "./client.js";
export type {
  EncoreOptions, Events, Experiments, Input, Items, ListQuery, Lists, Models, PopularQuery, RuledQuery, SessionQuery, Trainings, Users,
} from "./client.js";
export { EventBatcher } from "./batcher.js";
export type { BatcherOptions } from "./batcher.js";
export type { EncoreEvent, IdentifiedEvent } from "./events.js";
export type { LiveOptions, LiveQuery, LiveUpdate } from "./live.js";
export * from "./errors.js";
export type { CallOptions, RetryOptions } from "./transport.js";
export type {
  BulkAnswer, ChampionAnswer, EventResult, EventsAnswer, ExperimentAnswer, ExperimentBody, FieldProblem, Health, ItemAnswer, ItemBody, ItemInteracted,
  ItemPatch, ListAnswer, ModelAnswer, ModelName, Pagination, Problem, Reason, Recommendation, ResultsAnswer, TrainingAnswer, UserAnswer,
  UserBody, VideoRated, VideoWatched, WatchlistUpdated,
} from "./schema.js";
