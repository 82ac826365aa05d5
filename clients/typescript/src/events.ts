import type { ItemInteracted, VideoRated, VideoWatched, WatchlistUpdated } from "./schema.js";

/** An event of any type. Which it is follows from its fields. */
export type EncoreEvent = VideoWatched | VideoRated | WatchlistUpdated | ItemInteracted;

/** An event that counts once however often it is sent. */
export type IdentifiedEvent = EncoreEvent & { event_id: string };

/** The event with an id of its own, unless it has one. */
export function withId(event: EncoreEvent): IdentifiedEvent {
  return { ...event, event_id: event.event_id ?? globalThis.crypto.randomUUID() };
}
