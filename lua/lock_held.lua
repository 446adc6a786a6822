-- The hold of the id that asks.  Needs lock_parts.

-- When the hold or grant of an id ends, as text, or false.
local function lock_score(lock, id)
    return redis.call('ZSCORE', lock.holders, id)
end

-- The token under which the id that asks holds the lock now, or nil; ends is its lock_score.  lock_delay
-- keeps a lock closed, not held; it does not follow a grant that was never confirmed.
local function lock_held_token(lock, ends, delay)
    local kind, token = string.match(lock.record or '', '^([hg]):(%d+)$')
    if kind and ends and ends - (kind == 'h' and delay or 0) > clock then
        return token + 0
    end
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
