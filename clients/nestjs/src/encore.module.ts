import { EncoreClient } from "@encore-recs/client";
import { Inject, Module, type DynamicModule, type OnApplicationShutdown, type Provider } from "@nestjs/common";

import { EncoreService } from "./encore.service";
import { EventPublisher, HttpEventPublisher } from "./event-publisher";
import { KafkaEventPublisher } from "./kafka-publisher";
import { ENCORE_OPTIONS, type EncoreModuleAsyncOptions, type EncoreModuleOptions } from "./options";

const PROVIDERS: Provider[] = [
  { provide: EncoreClient, inject: [ENCORE_OPTIONS], useFactory: (options: EncoreModuleOptions) => new EncoreClient(options) },
  { provide: EventPublisher, inject: [ENCORE_OPTIONS, EncoreClient], useFactory: publisherOf },
  EncoreService,
];
const EXPORTS = [EncoreClient, EncoreService, EventPublisher];

@Module({})
export class EncoreModule implements OnApplicationShutdown {
  constructor(
    @Inject(EventPublisher) private readonly events: EventPublisher,
    @Inject(ENCORE_OPTIONS) private readonly options: EncoreModuleOptions,
  ) {}

  static forRoot(options: EncoreModuleOptions & { isGlobal?: boolean }): DynamicModule {
    const { isGlobal = true, ...rest } = options;
    return { module: EncoreModule, global: isGlobal, providers: [{ provide: ENCORE_OPTIONS, useValue: rest }, ...PROVIDERS], exports: EXPORTS };
  }

  static forRootAsync(options: EncoreModuleAsyncOptions): DynamicModule {
    const { imports = [], inject = [], useFactory, isGlobal = true } = options;
    const given: Provider = { provide: ENCORE_OPTIONS, inject, useFactory: useFactory as (...injected: unknown[]) => unknown };
    return { module: EncoreModule, global: isGlobal, imports, providers: [given, ...PROVIDERS], exports: EXPORTS };
  }

  /** Called where `app.enableShutdownHooks()` was: sends what is left. */
  async onApplicationShutdown(): Promise<void> {
    await this.events.close(this.options.shutdownTimeoutMs ?? 10_000);
  }
}

function publisherOf(options: EncoreModuleOptions, client: EncoreClient): EventPublisher {
  const { events } = options;
  if (events?.transport === "kafka") return new KafkaEventPublisher(events.producer);
  return new HttpEventPublisher(client.events.batcher(events?.batcher));
}
