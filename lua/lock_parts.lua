-- What every lock script shares: the state of a lock, and the one hand-over.  Keys, records and ids are
-- described in lua/README.md.  Needs clock.  What not every call needs is in lock_held and lock_waiters.
--
-- A lock is read when it is opened; the table that stands for it then holds
--   last, exclusive, full   tokens: the last given, the last in mode x, the last that left no room
--   record                  what is known of the id that asks, or false
--   ends                    when the first holder ends, as of the last lock_look or lock_take; nil: nobody
--   is_empty                nobody holds it, or only leaving does: known without asking
--   leaving                 an id that is out when the next one is in: so the key, and its time to live, stay
--   was_given               lock_take was here

-- The keys of a lock live so long after it was used: time for a late holder to learn what happened,
-- and for tokens to survive a clock that is put back.
local LOCK_TTL_MS = 4500000
-- A time to live is renewed by the first grant, or the first waiter, of every quarter of an hour, to spare
-- a call.
local REFRESH_US = 900000000
-- Tokens count from 2024, so that they have 15 digits, which is what a structured field can hold.
local TOKEN_EPOCH_US = 1704067200000000
-- Holders and waiters are removed in portions, as unpack has a limit.
local PORTION = 100

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
    if lock.is_empty then
        lock.ends = nil
        return false
    end
    while true do
        local first = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')
        lock.ends = first[2] and first[2] + 0
        if not lock.ends then
            return false
        end
        if lock.ends > clock then
            return string.sub(first[1], 1, 1)
        end
        local over = redis.call('ZRANGEBYSCORE', lock.holders, '-inf', clock, 'LIMIT', 0, PORTION)
        redis.call('ZREM', lock.holders, unpack(over))
        redis.call('HDEL', lock.records, unpack(over))
    end
end

-- Whether those who hold it, if any, let others in: as long as one is there who holds it alone, no token is
-- given after its even one.
local function lock_is_open(lock)
    return lock.last % 2 == 1
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
    return mode == 's' or permits > 1 and lock_is_open(lock) and redis.call('ZCARD', lock.holders) < permits
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

-- Whether a time to live that was renewed at the one time is to be renewed at the other.
local function lock_is_due(last_us, now_us)
    return math.floor(last_us / REFRESH_US) ~= math.floor(now_us / REFRESH_US)
end

-- kind: "h" held, "g" granted without the holder knowing yet.
local function lock_take(lock, id, permits, kind, token, until_us)
    local text = lock_text(token)
    local record = kind .. ':' .. text
    local is_due = lock_is_due(lock.last, token)
    redis.call('ZADD', lock.holders, until_us, id)
    if is_due or not lock.leaving then
        redis.call('PEXPIRE', lock.holders, LOCK_TTL_MS)
    end
    if lock.leaving then
        redis.call('ZREM', lock.holders, lock.leaving)
        lock.leaving = nil
    end
    lock.is_empty, lock.was_given = false, true
    if not lock.ends or until_us < lock.ends then
        lock.ends = until_us
    end
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
    if is_due then
        redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
    end
    lock.last = token
end

-- Hands the lock to whoever is next, as long as there is room: a short grant, and a message to the
-- waiter's worker.  The dead are skipped.  One that waits for several locks is only told to ask, as
-- this call may not know its other keys.  Gives the waiter at the head who has to wait on, or nil.
-- Stops at the id that asks: it takes the lock by itself; and at one who got it alone.
local function lock_hand_over(lock, asking)
    local id = redis.call('ZRANGE', lock.queue, 0, 0)[1]
    if not id or id == asking then
        return id
    end
    -- @include lock_waiters
    repeat
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
            local is_alone = lock_is_alone(id, waiter.permits)
            local token = lock_next_token({lock}, is_alone)
            redis.call('ZREM', lock.queue, id)
            lock_take(lock, id, waiter.permits, 'g', token, clock + waiter.grant)
            redis.call('PUBLISH', waiter.channel, string.format('G %s %.0f %.0f', id, token, waiter.grant))
            if is_alone then
                return id
            end
        end
        id = redis.call('ZRANGE', lock.queue, 0, 0)[1]
    until not id or id == asking
    return id
end
