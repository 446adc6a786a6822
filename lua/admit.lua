-- Admits a request: its limits and its locks together, all or nothing.  With no limits it is also how a
-- waiter asks again.  What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts
-- @include lock_parts

local HELD, QUEUED, BUSY, FULL, DENIED = 1, 0, -1, -2, -3
local LOCK_ARGS = 12
-- Waiters ask again after the first holder ends, one after the other, so that no herd comes.
local LATE_US, APART_US = 5000, 20000

local limit_count = (#ARGV - 2 - LOCK_ARGS) / 8
local at = #ARGV - LOCK_ARGS
local intent, id = ARGV[at + 1], ARGV[at + 2]
local mode, permits = string.sub(id, 1, 1), ARGV[at + 3] + 0
local wait, lease, grant = ARGV[at + 4] + 0, ARGV[at + 5] + 0, ARGV[at + 6] + 0
local heartbeat, delay, queue_max = ARGV[at + 7] + 0, ARGV[at + 8] + 0, ARGV[at + 9] + 0
local place, wait_until, channel = ARGV[at + 10] + 0, ARGV[at + 11] + 0, ARGV[at + 12]

local locks = {}
for i = limit_count + 1, #KEYS, 3 do
    locks[#locks + 1] = lock_open(i, id)
end

-- The token under which id holds every lock: it asked before.  Then the lease starts anew.
local function hold_on()
    local token
    for i = 1, #locks do
        local lock = locks[i]
        token = lock_held_token(lock, lock.record and lock_score(lock, id), delay)
        if not token then
            return nil
        end
    end
    for i = 1, #locks do
        lock_renew(locks[i], id, clock + lease + delay)
    end
    return token
end

-- What is left of a hold that lapsed or was broken must not stand in the way of its own id.
local function drop_lapsed()
    for i = 1, #locks do
        local lock = locks[i]
        if string.match(lock.record or '', '^[gh]:') then
            redis.call('ZREM', lock.holders, id)
            redis.call('HDEL', lock.records, id)
        end
    end
end

-- Whether all locks may be taken now.  Those before this request get theirs first.
local function are_free()
    local free = true
    for i = 1, #locks do
        local head = lock_hand_over(locks[i], id)
        if head and head ~= id or not lock_has_room(locks[i], mode, permits) then
            free = false
        end
    end
    return free
end

-- The same as an estimate that writes nothing.
local function seem_free()
    local now = lock_text(clock)
    for i = 1, #locks do
        local lock = locks[i]
        local first = redis.call('ZRANGEBYSCORE', lock.holders, '(' .. now, '+inf', 'WITHSCORES',
            'LIMIT', 0, 1)
        lock.ends = first[2] and first[2] + 0
        if lock.ends and (string.sub(first[1], 1, 1) ~= mode or mode == 'x' and
                redis.call('ZCOUNT', lock.holders, '(' .. now, '+inf') >= permits) then
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

local function take(was_waiting)
    local token = lock_next_token(locks, lock_is_alone(id, permits))
    for i = 1, #locks do
        local lock = locks[i]
        if was_waiting then
            redis.call('ZREM', lock.queue, id)
        end
        lock_take(lock, id, permits, 'h', token, clock + lease + delay)
        -- Those behind it may have room beside it.
        if was_waiting and (mode == 's' or permits > 1) then
            lock_hand_over(lock)
        end
    end
    return {HELD, token, 0, 0, 0, 0}
end

-- How long until the first holder in the way ends, or nil.
local function until_end()
    local earliest
    for i = 1, #locks do
        local ends = locks[i].ends
        if ends and ends > clock and (not earliest or ends < earliest) then
            earliest = ends
        end
    end
    return earliest and earliest - clock
end

local function refuse(state)
    return {state, 0, 0, 0, until_end() or 0, 0}
end

-- Drops the dead from everywhere in a queue.
local function sweep(lock)
    if (redis.call('HGET', lock.records, 'v') or 0) + 0 > clock then
        return
    end
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

local function is_queue_full()
    for i = 1, #locks do
        local lock = locks[i]
        if redis.call('ZCARD', lock.queue) >= queue_max then
            sweep(lock)
            if redis.call('ZCARD', lock.queue) >= queue_max then
                return true
            end
        end
    end
    return false
end

-- Behind everybody, in every queue.
local function last_place()
    local last = clock
    for i = 1, #locks do
        local scored = redis.call('ZRANGE', locks[i].queue, -1, -1, 'WITHSCORES')
        if scored[2] then
            last = math.max(last, scored[2] + 1)
        end
    end
    return last
end

-- In every queue, for the first time or still.
local function queue_up()
    for i = 1, #locks do
        redis.call('ZADD', locks[i].queue, lock_text(place), id)
        redis.call('PEXPIRE', locks[i].queue, LOCK_TTL_MS)
    end
end

-- Shows that it is alive.
local function stay()
    local rank = 0
    for i = 1, #locks do
        local lock = locks[i]
        lock_set_waiter(lock, id, {permits = permits, grant = grant, keys = #locks,
            wait_until = wait_until, alive_until = clock + heartbeat, channel = channel})
        redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
        rank = math.max(rank, redis.call('ZRANK', lock.queue, id))
    end
    local again = math.floor(heartbeat / 3)
    local ends = until_end()
    if ends then
        again = math.min(again, ends + LATE_US + APART_US * rank)
    end
    return {QUEUED, 0, place, rank, again, wait_until}
end

local function leave()
    for i = 1, #locks do
        redis.call('ZREM', locks[i].queue, id)
        redis.call('HDEL', locks[i].records, id)
        lock_hand_over(locks[i])
    end
end

-- Once more by one who was charged before: it waits, or held and lost it, or was forgotten.
local function admit_again()
    local token = hold_on()
    if token then
        return {HELD, token, 0, 0, 0, 0}
    end
    drop_lapsed()
    local score = redis.call('ZSCORE', locks[1].queue, id)
    local waiter = lock_waiter(locks[1].record)
    place = score and score + 0 or place > 0 and place or last_place()
    wait_until = waiter and waiter.wait_until or wait_until > 0 and wait_until or clock + wait
    queue_up()
    if are_free() then
        return take(true)
    elseif wait_until <= clock then
        leave()
        return refuse(BUSY)
    end
    return stay()
end

local function admit()
    if intent == 'p' then
        return seem_free() and {HELD, 0, 0, 0, 0, 0} or refuse(BUSY)
    elseif are_free() then
        return take(false)
    elseif wait == 0 or intent ~= 'w' then
        return refuse(BUSY)
    elseif is_queue_full() then
        return refuse(FULL)
    end
    place, wait_until = last_place(), clock + wait
    queue_up()
    return stay()
end

-- @include limit_look

local was_charged = place > 0
for i = 1, #locks do
    was_charged = was_charged or locks[i].record
end

local reply
if was_charged then
    granted = 1
    for i = 1, limit_count do
        limits[i].cost, limits[i].fits = 0, 1
    end
    reply = admit_again()
elseif granted == 0 then
    reply = {DENIED, 0, 0, 0, 0, 0}
else
    reply = admit()
    if intent == 'w' and reply[1] < QUEUED then
        granted = 0
    end
end
-- @include limit_charge
reply[7] = limit_reply
return reply
