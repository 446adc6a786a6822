-- Asked by an id that the store knew, or that says so.  Part of admit.

-- The token under which id holds every lock: it asked before.  Then the lease starts anew.
local function hold_on()
    local token
    for i = 1, #locks do
        local lock = locks[i]
        token = lock_held_token(lock, lock.record and lock_score(lock, id))
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
    local rank = 0
    for i = 1, #locks do
        rank = math.max(rank, redis.call('ZRANK', locks[i].queue, id))
    end
    return stay(rank)
end
