-- Those who wait.  Needs lock_parts.

-- The record of one who waits: w:permits:grant:keys:wait_until:alive_until:channel
local function lock_waiter(record)
    local permits, grant, keys, wait_until, alive_until, channel =
        string.match(record or '', '^w:(%d+):(%d+):(%d+):(%d+):(%d+):(.*)$')
    return permits and {permits = permits + 0, grant = grant + 0, keys = keys + 0,
        wait_until = wait_until + 0, alive_until = alive_until + 0, channel = channel}
end

local function lock_set_waiter(lock, id, waiter)
    redis.call('HSET', lock.records, id, string.format('w:%s:%s:%s:%.0f:%.0f:%s', waiter.permits,
        waiter.grant, waiter.keys, waiter.wait_until, waiter.alive_until, waiter.channel))
end

local function lock_is_dead(waiter)
    return not waiter or waiter.wait_until <= clock or waiter.alive_until <= clock
end
