// A feed with infinite scroll over Encore: `node dist/main.js` in a project of your own, or the tests here.
import { EncoreError, ProblemError, type EncoreEvent } from "@encore-recs/client";
import {
  Body, Catch, Controller, Get, HttpCode, Inject, Injectable, Module, Param, ParseIntPipe, DefaultValuePipe, Post, Query,
  type ArgumentsHost, type ExceptionFilter, type DynamicModule,
} from "@nestjs/common";
import { HealthCheck, HealthCheckService, TerminusModule, type HealthCheckResult } from "@nestjs/terminus";

import { EncoreHealthIndicator, EncoreModule, EncoreService, EventPublisher, type EncoreModuleOptions, type FeedPage } from "../src";

@Controller()
export class FeedController {
  constructor(
    @Inject(EncoreService) private readonly encore: EncoreService,
    @Inject(EventPublisher) private readonly events: EventPublisher,
  ) {}

  @Get("feed/:userId")
  feed(
    @Param("userId") userId: string,
    @Query("limit", new DefaultValuePipe(10), ParseIntPipe) limit: number,
    @Query("cursor") cursor?: string,
  ): Promise<FeedPage> {
    return this.encore.getFeed(userId, limit, cursor);
  }

  @Get("recommendations/:userId")
  recommendations(
    @Param("userId") userId: string,
    @Query("limit", new DefaultValuePipe(20), ParseIntPipe) limit: number,
    @Query("offset", new DefaultValuePipe(0), ParseIntPipe) offset: number,
  ): Promise<FeedPage> {
    return this.encore.getUserRecommendations(userId, limit, offset);
  }

  @Post("events")
  @HttpCode(202)
  async seen(@Body() event: EncoreEvent): Promise<{ eventId: string }> {
    return { eventId: await this.events.publishAndWait(event) };
  }
}

@Controller("health")
export class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(EncoreHealthIndicator) private readonly encore: EncoreHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check(): Promise<HealthCheckResult> {
    return this.health.check([() => this.encore.isHealthy("encore")]);
  }
}

/** What Encore refuses, this application refuses with the same status; what Encore cannot answer is a 503. */
@Injectable()
@Catch(EncoreError)
export class EncoreErrorFilter implements ExceptionFilter<EncoreError> {
  catch(error: EncoreError, host: ArgumentsHost): void {
    const response = host.switchToHttp().getResponse<{ status(code: number): { json(body: unknown): void } }>();
    const status = error instanceof ProblemError ? error.status : error.name === "EventRejectedError" ? 422 : 503;
    response.status(status).json({ error: error.name, message: error.message });
  }
}

@Module({})
export class FeedApplication {
  static with(options: EncoreModuleOptions): DynamicModule {
    return {
      module: FeedApplication,
      imports: [EncoreModule.forRoot(options), TerminusModule.forRoot({ logger: false })],
      controllers: [FeedController, HealthController],
      providers: [EncoreHealthIndicator],
    };
  }
}
