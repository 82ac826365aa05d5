export { EncoreModule } from "./encore.module";
export { EncoreService, type FeedPage } from "./encore.service";
export { EncoreHealthIndicator } from "./encore.health";
export { EventPublisher, HttpEventPublisher } from "./event-publisher";
export { KafkaEventPublisher, topicOf, type KafkaProducer } from "./kafka-publisher";
export { ENCORE_OPTIONS, type EncoreModuleAsyncOptions, type EncoreModuleOptions } from "./options";
