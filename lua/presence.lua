-- Counts the sidecars that share this store.  What it takes, gives and promises:
--
--   KEYS[1]  the zset of sidecars: member = a process's random id, score = server time in us
--   ARGV[1]  this process's id
--   ARGV[2]  how many us a sidecar counts after it was last heard of; 0: this one leaves
--   gives    how many sidecars are known, this one included
--
-- A sidecar that dies is forgotten after ARGV[2]; so is the whole set when all have gone.  Scores of
-- the future are left behind by a clock that went back (a failover): they are dropped, too, and who
-- lives comes back with its next beat.

local key, id, life = KEYS[1], ARGV[1], tonumber(ARGV[2])

if life == 0 then
    redis.call('ZREM', key, id)
    return redis.call('ZCARD', key)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - life))
redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now), '+inf')
redis.call('ZADD', key, string.format('%.0f', now), id)
redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(life / 1000)))
return redis.call('ZCARD', key)
