-- Drops the dead from everywhere in a queue; gives how many are left.  Part of admit.

-- A full queue is searched for dead waiters no more often than this.
local SWEEP_US = 500000

local function sweep(lock)
    if (redis.call('HGET', lock.records, 'v') or 0) + 0 <= clock then
        redis.call('HSET', lock.records, 'v', lock_text(clock + SWEEP_US))
        redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
        local waiters = redis.call('ZRANGE', lock.queue, 0, -1)
        for i = 1, #waiters do
            if lock_is_dead(lock_waiter(redis.call('HGET', lock.records, waiters[i]))) then
                redis.call('ZREM', lock.queue, waiters[i])
                redis.call('HDEL', lock.records, waiters[i])
            end
        end
    end
    return redis.call('ZCARD', lock.queue)
end
