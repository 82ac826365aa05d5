import type { BatcherOptions, EncoreOptions } from "@encore-recs/client";
import type { InjectionToken, ModuleMetadata, OptionalFactoryDependency } from "@nestjs/common";

import type { KafkaProducer } from "./kafka-publisher";

export interface EncoreModuleOptions extends EncoreOptions {
  /** Where events go: over HTTP in batches (the default), or to Kafka. */
  events?: { transport: "http"; batcher?: BatcherOptions } | { transport: "kafka"; producer: KafkaProducer };
  /** How long a shutdown waits for events under way, in milliseconds. */
  shutdownTimeoutMs?: number;
}

export interface EncoreModuleAsyncOptions extends Pick<ModuleMetadata, "imports"> {
  inject?: (InjectionToken | OptionalFactoryDependency)[];
  useFactory: (...injected: never[]) => EncoreModuleOptions | Promise<EncoreModuleOptions>;
  /** Whether every module may inject what this one exports; default true. */
  isGlobal?: boolean;
}

export const ENCORE_OPTIONS = Symbol("ENCORE_OPTIONS");
