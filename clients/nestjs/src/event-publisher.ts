import type { EncoreEvent, EventBatcher, IdentifiedEvent } from "@encore-recs/client";
import { Logger } from "@nestjs/common";

/** Takes events of viewers. Inject it as `EventPublisher`; which kind it is, the module's options say. */
export abstract class EventPublisher {
  /** Resolves with the event's id when the event is taken over; waits while too many are under way. */
  abstract publish(event: EncoreEvent): Promise<string>;
  /** Resolves when the event is stored by the service, or by the broker. */
  abstract publishAndWait(event: EncoreEvent): Promise<string>;
  /** Resolves when everything taken over is stored or refused. */
  abstract flush(): Promise<void>;
  /** Called at shutdown: send what is left. */
  abstract close(timeoutMs: number): Promise<void>;
}

/** Over HTTP, in batches, each event counted once. */
export class HttpEventPublisher extends EventPublisher {
  readonly #log = new Logger(HttpEventPublisher.name);

  constructor(private readonly batcher: EventBatcher) {
    super();
  }

  publish(event: EncoreEvent): Promise<string> {
    return this.batcher.push(event);
  }

  async publishAndWait(event: EncoreEvent): Promise<string> {
    return String((await this.batcher.send(event)).event_id);
  }

  flush(): Promise<void> {
    return this.batcher.flush();
  }

  async close(timeoutMs: number): Promise<void> {
    const left: readonly IdentifiedEvent[] = await this.batcher.close(timeoutMs);
    if (left.length > 0) this.#log.error(`${left.length} events were not known to be stored when the application stopped`);
  }
}
