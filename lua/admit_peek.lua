-- Whether all locks may be taken now, as an estimate that writes nothing.  Part of admit.

local function seem_free()
    local now = lock_text(clock)
    for i = 1, #locks do
        local lock = locks[i]
        local first = redis.call('ZRANGEBYSCORE', lock.holders, '(' .. now, '+inf', 'WITHSCORES',
            'LIMIT', 0, 1)
        lock.ends = first[2] and first[2] + 0
        if lock.ends and (string.sub(first[1], 1, 1) ~= mode or mode == 'x' and not (lock_is_open(lock) and
                redis.call('ZCOUNT', lock.holders, '(' .. now, '+inf') < permits)) then
            return false
        end
        local waiters = redis.call('ZRANGE', lock.queue, 0, PORTION - 1)
        for j = 1, #waiters do
            if not lock_is_dead(lock_waiter(redis.call('HGET', lock.records, waiters[j]))) then
                return false
            end
        end
    end
    return true
end
