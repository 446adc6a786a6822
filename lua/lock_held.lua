-- The hold of the id that asks.  Needs lock_parts.

-- When the hold or grant of an id ends, as text, or false.
local function lock_score(lock, id)
    return redis.call('ZSCORE', lock.holders, id)
end

-- The token under which the id that asks holds the lock, or nil; ends is its lock_score.  Also past its end:
-- whoever takes the lock drops those that lapsed before, so as long as it is there, nobody has taken it.
local function lock_held_token(lock, ends)
    local token = string.match(lock.record or '', '^[hg]:(%d+)$')
    return token and ends and token + 0
end

-- Must be held.  What may not fail for want of memory comes first, so that the rest will not, either.
local function lock_renew(lock, id, until_us)
    redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
    redis.call('ZADD', lock.holders, until_us, id)
    if string.sub(lock.record, 1, 1) == 'g' then
        redis.call('HSET', lock.records, id, 'h' .. string.sub(lock.record, 2))
    else
        redis.call('PEXPIRE', lock.holders, LOCK_TTL_MS)
    end
end
