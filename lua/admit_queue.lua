-- Waiting.  Part of admit; needs admit_refuse and lock_waiters.

-- Waiters ask again after the first holder ends, one after the other, so that no herd comes.
local heartbeat = ARGV[at + 7] + 0
local LATE_US, APART_US = 5000, 20000

-- Behind everybody, in every queue.
local function last_place()
    local last = clock
    for i = 1, #locks do
        local lock = locks[i]
        local scored = redis.call('ZRANGE', lock.queue, -1, -1, 'WITHSCORES')
        lock.last_place = (scored[2] or 0) + 0
        last = math.max(last, lock.last_place + 1)
    end
    return last
end

-- In every queue, for the first time or still, and alive.
local function queue_up()
    for i = 1, #locks do
        local lock = locks[i]
        redis.call('ZADD', lock.queue, place, id)
        lock_set_waiter(lock, id, {permits = ARGV[at + 3], grant = ARGV[at + 6], keys = #locks,
            wait_until = wait_until, alive_until = clock + heartbeat, channel = channel})
        if not lock.last_place or lock_is_due(lock.last_place, place) then
            redis.call('PEXPIRE', lock.queue, LOCK_TTL_MS)
            redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
        end
    end
end

-- rank: how many wait before it.
local function stay(rank)
    local again = math.floor(heartbeat / 3)
    local ends = until_end()
    if ends then
        again = math.min(again, ends + LATE_US + APART_US * rank)
    end
    return {QUEUED, 0, place, rank, again, wait_until}
end
