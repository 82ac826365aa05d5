import type { EncoreEvent } from "@encore-recs/client";

import { EventPublisher } from "./event-publisher";

/** What we use of a connected kafkajs producer. */
export interface KafkaProducer {
  send(record: { topic: string; acks: number; messages: { key: string; value: string }[] }): Promise<unknown>;
}

const TOPIC_BY_FIELD: Readonly<Record<string, string>> = {
  watched_duration: "analytics-service.video-watched",
  rating: "profile-service.video-rated",
  action: "profile-service.watchlist-updated",
};

/** To the topics that Encore consumes (docs/asyncapi.json), keyed by user, so that a user's events stay in order. */
export class KafkaEventPublisher extends EventPublisher {
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(private readonly producer: KafkaProducer) {
    super();
  }

  /** A broker's acknowledgement is what "taken over" means here. */
  publish(event: EncoreEvent): Promise<string> {
    return this.publishAndWait(event);
  }

  async publishAndWait(event: EncoreEvent): Promise<string> {
    const topic = topicOf(event);
    const eventId = event.event_id ?? globalThis.crypto.randomUUID();
    const value = JSON.stringify({ ...event, event_id: eventId });
    const sent = this.producer.send({ topic, acks: -1, messages: [{ key: event.user_id, value }] });
    this.#underWay.add(sent);
    try {
      await sent;
    } finally {
      this.#underWay.delete(sent);
    }
    return eventId;
  }

  async flush(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  /** The producer is the application's: it is not disconnected here. */
  async close(timeoutMs: number): Promise<void> {
    const limit = new Promise<void>((resolve) => setTimeout(resolve, timeoutMs).unref());
    await Promise.race([this.flush(), limit]);
  }
}

/** The topic of an event. Throws RangeError for one that has no topic: send it over HTTP. */
export function topicOf(event: EncoreEvent): string {
  for (const [field, topic] of Object.entries(TOPIC_BY_FIELD)) if (field in event) return topic;
  throw new RangeError("ItemInteracted has no topic of its own: publish it over HTTP");
}
