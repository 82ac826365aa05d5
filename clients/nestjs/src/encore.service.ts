import { EncoreClient, type CallOptions, type ListAnswer, type Recommendation } from "@encore-recs/client";
import { Inject, Injectable } from "@nestjs/common";

/** A page of a feed. */
export interface FeedPage {
  recommendations: Recommendation[];
  pagination: { total: number; limit: number; offset: number; hasMore: boolean; nextCursor: string | null };
  isFallback: boolean;
}

@Injectable()
export class EncoreService {
  constructor(@Inject(EncoreClient) readonly client: EncoreClient) {}

  /** A page of a user's list by offset. Between two pages the list may change: `getFeed` repeats nothing. */
  async getUserRecommendations(userId: string, limit = 20, offset = 0, call: CallOptions = {}): Promise<FeedPage> {
    return pageOf(await this.client.lists.forUser(userId, { limit, offset }, call));
  }

  /** A page of a feed with infinite scroll: hand `nextCursor` back for the next one. No item comes twice. */
  async getFeed(userId: string, limit = 20, cursor?: string, call: CallOptions = {}): Promise<FeedPage> {
    return pageOf(await this.client.lists.forUser(userId, cursor === undefined ? { limit } : { limit, cursor }, call));
  }
}

function pageOf(list: ListAnswer): FeedPage {
  const { total, limit, offset, has_more: hasMore, next_cursor: nextCursor } = list.pagination;
  return { recommendations: list.recommendations, pagination: { total, limit, offset, hasMore, nextCursor }, isFallback: list.is_fallback };
}
