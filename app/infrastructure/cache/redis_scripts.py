"""The Lua scripts, written to the command set of Redis 7.0. Each is one atomic step on the server, by its clock.

Keys: `PREFIX g:USER` holds a user's generation (microseconds of the server's clock when it was first asked for);
`PREFIX l:…` holds a list as `GENERATION FRESH LENGTH:USER newline BYTES`, stale from FRESH (ms) on; `PREFIX t:…` the
generation that somebody is computing a list for; `PREFIX w:KEY` counts the hits allowed within the last minute, by
second. A bump deletes the generation: every list written under it is unreachable from then on, and a list computed
before it cannot be written any more. Losing any key (eviction, restart) is as good as a bump.
"""

from __future__ import annotations

import hashlib
from typing import Final

WINDOW_MS: Final = 60_000
GRANULE_MS: Final = 1_000
MAX_GRANULES: Final = 62
GENERATION_MS: Final = 600_000
"""How long a generation outlives a read that wrote no list: far longer than a list takes to compute."""

LEASE_MS: Final = 1_000
"""How long others wait for whoever has the turn to compute a list: what nobody would wait for longer."""

# A sliding window by granules of a second, as exact as window.py says: a hash of granule → hits × 1,000 + the place of
# the latest within its second (ms), with `used`, the hits in the window, and `oldest`, the first granule that may hold
# any. At most 62 fields, however many hits. The key's expiry is set by the script that makes it, so a crash between the
# two cannot leave a key without one. Refused hits are not counted: waiting helps.
_COUNT = f"""
local function count(key, limit, cost, now)
  local granule = math.floor(now / {GRANULE_MS})
  local known = redis.call('HMGET', key, 'used', 'oldest')
  local used, oldest = tonumber(known[1] or 0), math.min(tonumber(known[2] or granule), granule)
  if granule - oldest > {MAX_GRANULES} * 2 then
    redis.call('UNLINK', key)
    used, oldest = 0, granule
  end
  local kept, first = nil, oldest
  while oldest < granule and not kept do
    kept = redis.call('HGET', key, oldest)
    if kept and oldest * {GRANULE_MS} + tonumber(kept) % {GRANULE_MS} <= now - {WINDOW_MS} then
      used = used - math.floor(tonumber(kept) / {GRANULE_MS})
      redis.call('HDEL', key, oldest)
      kept = nil
    end
    if not kept then oldest = oldest + 1 end
  end
  local allowed, excess = 0, used + cost - limit
  if excess <= 0 then
    local hits = math.floor(tonumber(redis.call('HGET', key, granule) or 0) / {GRANULE_MS}) + cost
    used = used + cost
    redis.call('HSET', key, granule, string.format('%.0f', hits * {GRANULE_MS} + now % {GRANULE_MS}))
    allowed = 1
  end
  if allowed == 1 or oldest > first then
    redis.call('HSET', key, 'used', used, 'oldest', oldest)
    if allowed == 1 then redis.call('PEXPIRE', key, {WINDOW_MS}) end
  end
  local reset, freed = {WINDOW_MS}, 0
  for place = oldest, granule do
    local held = tonumber(redis.call('HGET', key, place) or 0)
    freed = freed + math.floor(held / {GRANULE_MS})
    if held > 0 and freed >= excess then
      reset = place * {GRANULE_MS} + held % {GRANULE_MS} + {WINDOW_MS} - now
      break
    end
  end
  return {{allowed, math.max(limit - used, 0), reset}}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

HIT = f"""{_COUNT}
return count(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), now)
"""
"""KEYS: limit. ARGV: limit, hits. → allowed (0/1), remaining, ms until the oldest hit, or enough of them, leave."""

READ = f"""{_COUNT}
local counted = false
if ARGV[1] ~= '' then counted = count(KEYS[3], tonumber(ARGV[1]), 1, now) end
local generation = redis.call('GET', KEYS[1])
local value, fresh = false, false
if generation then
  value = redis.call('GET', KEYS[2])
  if value then
    local until_ms = string.match(value, '^(%d+) ', #generation + 2)
    if until_ms and string.sub(value, 1, #generation + 1) == generation .. ' ' then
      fresh = tonumber(until_ms) > now
    else
      value = false
    end
  end
else
  generation = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[1], generation, 'PX', {GENERATION_MS})
end
local turn = 0
if not fresh and (not counted or counted[1] == 1) and redis.call('GET', KEYS[4]) ~= generation then
  redis.call('SET', KEYS[4], generation, 'PX', {LEASE_MS})
  turn = 1
end
return {{generation, value, counted, turn}}
"""
"""KEYS: generation, list, limit, turn. ARGV: limit or ''. → generation, list or nil, what `count` says or nil, turn.

Who may not ask gets no turn. A turn belongs to a generation: after a bump the next to ask has it.
"""

RELEASE_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 1
"""
"""KEYS: turn. ARGV: generation. → 1."""

WRITE = """
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('UNLINK', KEYS[3]) end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local fresh = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3])
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. fresh .. ' ' .. ARGV[2], 'PX', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[4], 'GT')
return 1
"""
"""KEYS: generation, list, turn. ARGV: generation, list with its user, ms it is fresh, ms it is kept.
→ 1, or 0 if the generation has moved."""


def digest(script: str) -> str:
    """The name EVALSHA knows a script by."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
