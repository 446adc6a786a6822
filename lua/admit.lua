-- Admits a request: its limits and its locks together, all or nothing.  With no limits it is also how a
-- waiter asks again.  What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts
-- @include lock_parts

local HELD, QUEUED, BUSY, FULL, DENIED = 1, 0, -1, -2, -3
local LOCK_ARGS = 12

local limit_count, limit_at, first_key = (#ARGV - LOCK_ARGS) / 8, 0, 0
local at = #ARGV - LOCK_ARGS
local intent, id = ARGV[at + 1], ARGV[at + 2]
local mode, permits = string.sub(id, 1, 1), ARGV[at + 3] + 0
local wait, lease, delay = ARGV[at + 4] + 0, ARGV[at + 5] + 0, ARGV[at + 8] + 0
local place, wait_until, channel = ARGV[at + 10] + 0, ARGV[at + 11] + 0, ARGV[at + 12]

local locks = {}
for i = limit_count + 1, #KEYS, 3 do
    locks[#locks + 1] = lock_open(i, id)
end

-- Whether all locks may be taken now.  Those before this request get theirs first.
local function are_free()
    local free = true
    for i = 1, #locks do
        local lock = locks[i]
        local held = lock_look(lock)
        if held and not lock_is_open(lock) then
            -- Somebody has it alone: there is room for nobody.
            free = false
        else
            local head = lock_hand_over(lock, id)
            if head and head ~= id or (held or lock.was_given) and not lock_has_room(lock, mode, permits) then
                free = false
            end
        end
    end
    return free
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

local asked = 1
-- @include limit_open
-- @include limit_look
if trouble then
    return trouble
end

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
    -- @include lock_held
    -- @include lock_waiters
    -- @include admit_refuse
    -- @include admit_queue
    -- @include admit_again
    reply = admit_again()
elseif granted == 0 then
    reply = {DENIED, 0, 0, 0, 0, 0}
elseif intent == 'p' then
    -- @include lock_waiters
    -- @include admit_refuse
    -- @include admit_peek
    reply = seem_free() and {HELD, 0, 0, 0, 0, 0} or refuse(BUSY)
elseif are_free() then
    reply = take(false)
else
    -- @include admit_refuse
    if wait == 0 or intent ~= 'w' then
        reply = refuse(BUSY)
    else
        -- @include lock_waiters
        -- @include admit_queue
        -- @include admit_join
        reply = join()
    end
    if intent == 'w' and reply[1] < QUEUED then
        granted = 0
    end
end
local limit_reply, reply_at = limit_count > 0 and {0, 0, 0, 0, 0} or {0}, 0
-- @include limit_charge
reply[7] = limit_reply
return reply
