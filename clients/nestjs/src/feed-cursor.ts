import { createHash } from "node:crypto";

const HASH_BYTES = 4;
const MAX_SHOWN = 1_000;

/**
 * Where a feed is: the service's cursor, and a short hash of every item shown so far. The list may be made anew between
 * two pages, when an event came in; by these an item that moved down is not shown twice. 4 bytes an item: of 100 unseen
 * items one is taken for a shown one, and left out, in fewer than one feed in 100,000.
 */
export class FeedCursor {
  constructor(
    readonly service: string | null = null,
    private readonly shown: ReadonlySet<string> = new Set(),
  ) {}

  /** Throws RangeError for text that is no cursor of ours. */
  static parse(text: string): FeedCursor {
    const [service = "", hashes = "", ...more] = text.split(".");
    const bytes = Buffer.from(hashes, "base64url");
    if (service === "" || more.length > 0 || bytes.length % HASH_BYTES !== 0 || bytes.length > HASH_BYTES * MAX_SHOWN) {
      throw new RangeError("not a cursor of this feed");
    }
    const shown = new Set<string>();
    for (let at = 0; at < bytes.length; at += HASH_BYTES) shown.add(bytes.subarray(at, at + HASH_BYTES).toString("hex"));
    return new FeedCursor(service, shown);
  }

  has(itemId: string): boolean {
    return this.shown.has(hash(itemId));
  }

  /** The text for the page after these items. */
  after(service: string, itemIds: readonly string[]): string {
    const all = [...this.shown, ...itemIds.map(hash)].slice(-MAX_SHOWN);
    return `${service}.${Buffer.from(all.join(""), "hex").toString("base64url")}`;
  }
}

function hash(itemId: string): string {
  return createHash("sha256").update(itemId).digest("hex").slice(0, HASH_BYTES * 2);
}
