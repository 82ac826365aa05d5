"""The Lua scripts, written to the command set of Redis 7.0. Each is one atomic step on the server, by its clock.

Keys: `PREFIX g:USER` holds a user's generation (microseconds of the server's clock when it was first asked for);
`PREFIX l:…` holds a list as `GENERATION LENGTH:USER newline BYTES`; `PREFIX r:KEY` holds the times (ms) of the requests
allowed within the last minute. A bump deletes the generation: every list written under it is unreachable from then
on, and a list computed before it cannot be written any more. Losing any key (eviction, restart) is as good as a bump.
"""

from __future__ import annotations

import hashlib
from typing import Final

WINDOW_MS: Final = 60_000
GENERATION_MS: Final = 600_000
"""How long a generation outlives a read that wrote no list: far longer than a list takes to compute."""

# Exact sliding window: a list of at most `limit` times, oldest first. The key's expiry is set by the script that makes
# it, so a crash between the two cannot leave a key without one. Refused requests are not counted: waiting helps.
_COUNT = f"""
local function count(key, limit, now)
  local oldest = redis.call('LINDEX', key, 0)
  while oldest and tonumber(oldest) <= now - {WINDOW_MS} do
    redis.call('LPOP', key)
    oldest = redis.call('LINDEX', key, 0)
  end
  local used = redis.call('LLEN', key)
  local allowed = 0
  if used < limit then
    redis.call('RPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, {WINDOW_MS})
    allowed = 1
    used = used + 1
  end
  return {{allowed, math.max(limit - used, 0), tonumber(oldest or now) + {WINDOW_MS} - now}}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

HIT = f"""{_COUNT}
return count(KEYS[1], tonumber(ARGV[1]), now)
"""
"""KEYS: limit. ARGV: limit. → allowed (0/1), remaining, ms until the oldest request leaves the window."""

READ = f"""{_COUNT}
local generation = redis.call('GET', KEYS[1])
local value = false
if generation then
  value = redis.call('GET', KEYS[2])
  if value and string.sub(value, 1, #generation + 1) ~= generation .. ' ' then value = false end
else
  generation = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[1], generation, 'PX', {GENERATION_MS})
end
if ARGV[1] == '' then return {{generation, value, false}} end
return {{generation, value, count(KEYS[3], tonumber(ARGV[1]), now)}}
"""
"""KEYS: generation, list, limit. ARGV: limit or ''. → generation, list or nil, what `count` says or nil."""

WRITE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'GT')
return 1
"""
"""KEYS: generation, list. ARGV: generation, list with header, ms. → 1, or 0 if the generation has moved."""


def digest(script: str) -> str:
    """The name EVALSHA knows a script by."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
