// Compiled by `npm run check`, never run: what must be an error, and what an answer is known to have.
import type { EncoreClient } from "../src/index.js";

declare const client: EncoreClient;

// @ts-expect-error: no such parameter
void client.lists.forUser("u1", { limits: 3 });
// @ts-expect-error: a word where a number belongs
void client.lists.forUser("u1", { limit: "3" });
// @ts-expect-error: an event without a time
void client.events.send({ user_id: "u1", video_id: "v1", rating: 3 });
// @ts-expect-error: no such kind
void client.events.send({ user_id: "u1", item_id: "v1", kind: "glance", timestamp: 1 });
// @ts-expect-error: no such model
void client.trainings.start({ model_type: "magic" });

export async function fields(): Promise<[string, number, string | null, boolean]> {
  const list = await client.lists.forUser("u1");
  const [line] = list.recommendations;
  return [line!.item_id, line!.score, list.pagination.next_cursor, list.is_fallback];
}
