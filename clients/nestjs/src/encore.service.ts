import { EncoreClient, type CallOptions, type ListAnswer, type Recommendation } from "@encore-recs/client";
import { Inject, Injectable } from "@nestjs/common";

import { FeedCursor } from "./feed-cursor";

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

  /**
   * A page of a feed with infinite scroll: hand `nextCursor` back for the next one. No item comes twice, also when events
   * change the list between two pages; a page may then be shorter. Throws RangeError for a cursor that is not ours.
   */
  async getFeed(userId: string, limit = 20, cursor?: string, call: CallOptions = {}): Promise<FeedPage> {
    const from = cursor === undefined ? new FeedCursor() : FeedCursor.parse(cursor);
    let { service } = from;
    for (;;) {
      const list = await this.client.lists.forUser(userId, service === null ? { limit } : { limit, cursor: service }, call);
      const recommendations = list.recommendations.filter((line) => !from.has(line.item_id));
      service = list.pagination.next_cursor;
      if (recommendations.length === 0 && service !== null) continue; // all of it was shown before: the next one
      const page = pageOf({ ...list, recommendations });
      const nextCursor = service === null ? null : from.after(service, recommendations.map((line) => line.item_id));
      return { ...page, pagination: { ...page.pagination, nextCursor } };
    }
  }
}

function pageOf(list: ListAnswer): FeedPage {
  const { total, limit, offset, has_more: hasMore, next_cursor: nextCursor } = list.pagination;
  return { recommendations: list.recommendations, pagination: { total, limit, offset, hasMore, nextCursor }, isFallback: list.is_fallback };
}
