-- Gives locks back, or leaves their queues: the same hand-over either way, and safe to repeat.
-- What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include lock_parts
-- @include lock_held

local HELD, LAPSED, TAKEN, FORGOTTEN, NOT_HOLDING = 1, 0, -1, -2, 2
local HARM = {[HELD] = 0, [LAPSED] = 1, [FORGOTTEN] = 2, [TAKEN] = 3}

local id, mine, delay, permits = ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0

local function judge(lock, ends)
    if ends then
        -- lock_delay keeps a lock closed, not held; it does not follow a grant that was never confirmed.
        local kept = string.sub(lock.record or '', 1, 1) == 'h' and delay or 0
        return lock_held_token(lock, ends) and ends - kept > clock and HELD or LAPSED
    end
    if lock.last == 0 then
        return FORGOTTEN
    end
    local newer = lock.last
    if string.sub(id, 1, 1) == 's' then
        newer = lock.exclusive
    elseif permits > 1 then
        newer = lock.full
    end
    return newer > mine and TAKEN or LAPSED
end

local verdict = HELD
for at = 1, #KEYS, 3 do
    local lock = lock_open(at, id)
    local first = redis.call('ZRANGE', lock.holders, 0, 1, 'WITHSCORES')
    local ends = first[1] == id and first[2] or first[3] == id and first[4]
        or first[3] and lock_score(lock, id)
    local found = judge(lock, ends)
    if HARM[found] > HARM[verdict] then
        verdict = found
    end
    lock.is_empty = not first[3] and (not first[1] or first[1] == id)
    if ends and lock.is_empty then
        lock.leaving = id
    elseif ends then
        redis.call('ZREM', lock.holders, id)
    else
        redis.call('ZREM', lock.queue, id)
    end
    if lock.record then
        redis.call('HDEL', lock.records, id)
    end
    lock_hand_over(lock)
    if lock.leaving then
        redis.call('ZREM', lock.holders, id)
    end
end
return mine > 0 and verdict or NOT_HOLDING
