-- What every lock script shares: the state of a lock, and the one hand-over.  Keys, records and ids are
-- described in lua/README.md.  Needs clock.
--
-- A lock is read when it is opened; the table that stands for it then holds
--   last, exclusive, full   tokens: the last given, the last in mode x, the last that left no room
--   record                  what is known of the id that asks, or false
--   ends                    when the first holder ends, as of the last lock_look; nil: nobody holds it

-- The keys of a lock live so long after it was used: time for a late holder to learn what happened,
-- and for tokens to survive a clock that is put back.
local LOCK_TTL_MS = '4500000'
-- The records' time to live is renewed by the first grant of every quarter of an hour, to spare a call.
local REFRESH_US = 900000000
-- Tokens count from 2024, so that they have 15 digits, which is what a structured field can hold.
local TOKEN_EPOCH_US = 1704067200000000
-- Holders and waiters are removed in portions, as unpack has a limit.
local PORTION = 100
-- A full queue is searched for dead waiters no more often than this.
local SWEEP_US = 500000

local function lock_text(number)
    return string.format('%.0f', number)
end

local function lock_open(at, id)
    local lock = {holders = KEYS[at], queue = KEYS[at + 1], records = KEYS[at + 2]}
    local known = redis.call('HMGET', lock.records, 'f', 'x', 'n', id)
    lock.last = (known[1] or 0) + 0
    lock.exclusive = (known[2] or 0) + 0
    lock.full = (known[3] or 0) + 0
    lock.record = known[4]
    return lock
end

-- The mode of those who hold it, or false when nobody does.  Drops those whose time is over.
local function lock_look(lock)
    while true do
        local first = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')
        lock.ends = first[2] and first[2] + 0
        if not lock.ends then
            return false
        end
        if lock.ends > clock then
            return string.sub(first[1], 1, 1)
        end
        local over = redis.call('ZRANGEBYSCORE', lock.holders, '-inf', lock_text(clock),
            'LIMIT', 0, PORTION)
        redis.call('ZREM', lock.holders, unpack(over))
        redis.call('HDEL', lock.records, unpack(over))
    end
end

-- Whether one more may hold it, whoever waits.
local function lock_has_room(lock, mode, permits)
    local held = lock_look(lock)
    if not held then
        return true
    end
    if held ~= mode then
        return false
    end
    return mode == 's' or permits > 1 and redis.call('ZCARD', lock.holders) < permits
end

-- Whether nobody else may hold a lock together with this id.
local function lock_is_alone(id, permits)
    return permits == 1 and string.sub(id, 1, 1) == 'x'
end

-- A token for all locks of a request: above every one that was given for any of them.  Even for one who
-- holds alone, odd for one of several, so that a fence can tell: several have no order.
local function lock_next_token(locks, is_alone)
    local token = clock - TOKEN_EPOCH_US
    for i = 1, #locks do
        token = math.max(token, locks[i].last + 1)
    end
    return (token % 2 == 0) == is_alone and token or token + 1
end

-- kind: "h" held, "g" granted without the holder knowing yet.
local function lock_take(lock, id, permits, kind, token, until_us)
    local text = lock_text(token)
    local record = kind .. ':' .. text
    redis.call('ZADD', lock.holders, lock_text(until_us), id)
    redis.call('PEXPIRE', lock.holders, LOCK_TTL_MS)
    if string.sub(id, 1, 1) == 's' then
        redis.call('HSET', lock.records, id, record, 'f', text, 'n', text)
    elseif permits == 1 or redis.call('ZCARD', lock.holders) >= permits then
        redis.call('HSET', lock.records, id, record, 'f', text, 'n', text, 'x', text)
    else
        redis.call('HSET', lock.records, id, record, 'f', text, 'x', text)
    end
    if lock.last == 0 then
        -- Whoever has an older token has it from before this store forgot: the fence must refuse it.
        redis.call('HSET', lock.records, 't', text, 'u', text)
    end
    if math.floor(lock.last / REFRESH_US) ~= math.floor(token / REFRESH_US) then
        redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
    end
    lock.last = token
end

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
    redis.call('PEXPIRE', lock.holders, LOCK_TTL_MS)
    redis.call('ZADD', lock.holders, lock_text(until_us), id)
    if string.sub(lock.record, 1, 1) == 'g' then
        redis.call('HSET', lock.records, id, 'h' .. string.sub(lock.record, 2))
    end
end

-- The record of one who waits: w:permits:grant:keys:wait_until:alive_until:channel
local function lock_waiter(record)
    local permits, grant, keys, wait_until, alive_until, channel =
        string.match(record or '', '^w:(%d+):(%d+):(%d+):(%d+):(%d+):(.*)$')
    return permits and {permits = permits + 0, grant = grant + 0, keys = keys + 0,
        wait_until = wait_until + 0, alive_until = alive_until + 0, channel = channel}
end

local function lock_set_waiter(lock, id, waiter)
    redis.call('HSET', lock.records, id, string.format('w:%.0f:%.0f:%.0f:%.0f:%.0f:%s', waiter.permits,
        waiter.grant, waiter.keys, waiter.wait_until, waiter.alive_until, waiter.channel))
end

local function lock_is_dead(waiter)
    return not waiter or waiter.wait_until <= clock or waiter.alive_until <= clock
end

-- Hands the lock to whoever is next, as long as there is room: a short grant, and a message to the
-- waiter's worker.  The dead are skipped.  One that waits for several locks is only told to ask, as
-- this call may not know its other keys.  Gives the waiter at the head who has to wait on, or nil.
-- Stops at the id that asks: it takes the lock by itself.
local function lock_hand_over(lock, asking)
    while true do
        local id = redis.call('ZRANGE', lock.queue, 0, 0)[1]
        if not id or id == asking then
            return id
        end
        local waiter = lock_waiter(redis.call('HGET', lock.records, id))
        if lock_is_dead(waiter) then
            redis.call('ZREM', lock.queue, id)
            redis.call('HDEL', lock.records, id)
        elseif not lock_has_room(lock, string.sub(id, 1, 1), waiter.permits) then
            return id
        elseif waiter.keys > 1 then
            redis.call('PUBLISH', waiter.channel, 'T ' .. id)
            return id
        else
            local token = lock_next_token({lock}, lock_is_alone(id, waiter.permits))
            redis.call('ZREM', lock.queue, id)
            lock_take(lock, id, waiter.permits, 'g', token, clock + waiter.grant)
            redis.call('PUBLISH', waiter.channel, string.format('G %s %.0f %.0f', id, token, waiter.grant))
        end
    end
end
