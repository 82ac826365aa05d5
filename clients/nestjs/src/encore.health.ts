import { EncoreClient, EncoreError } from "@encore-recs/client";
import { Inject, Injectable } from "@nestjs/common";
import { HealthIndicatorService, type HealthIndicatorResult } from "@nestjs/terminus";

/** Whether Encore can serve lists, for `HealthCheckService.check`. Needs TerminusModule; provide it where you check. */
@Injectable()
export class EncoreHealthIndicator {
  constructor(
    @Inject(EncoreClient) private readonly client: EncoreClient,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
  ) {}

  async isHealthy<Key extends string>(key: Key, timeoutMs = 2_000): Promise<HealthIndicatorResult<Key>> {
    const indicator = this.indicators.check(key);
    try {
      const { status, version } = await this.client.health({ timeoutMs });
      return indicator.up({ state: status, version });
    } catch (error) {
      if (!(error instanceof EncoreError)) throw error;
      return indicator.down(error.message);
    }
  }
}
