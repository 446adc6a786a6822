-- Keeps what a worker holds and waits for, all of it in one call; confirms grants.  A renewal never
-- creates.  What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include lock_parts
-- @include lock_held
-- @include lock_waiters

local HELD, WAITING, GONE = 1, 0, -1

local locks, is_gone = {}, {}
for at = 1, #KEYS, 3 do
    local id = ARGV[(at - 1) / 3 * 4 + 1]
    local lock = lock_open(at, id)
    lock.token = lock_held_token(lock, lock.record and lock_score(lock, id))
    -- Of several locks all are held, or none is renewed.
    is_gone[id] = is_gone[id] or not lock.token
    locks[#locks + 1] = lock
end

local function renew(lock, id, lease, delay, heartbeat)
    if not is_gone[id] then
        lock_renew(lock, id, clock + lease + delay)
        return HELD, lock.token
    end
    local waiter = lock_waiter(lock.record)
    if waiter then
        waiter.alive_until = clock + heartbeat
        lock_set_waiter(lock, id, waiter)
        return WAITING, 0
    end
    return GONE, 0
end

local reply = {}
-- The others later: for them there may be no memory.
local function renew_those(are_gone)
    for i = 1, #locks do
        local from = (i - 1) * 4
        local id = ARGV[from + 1]
        if is_gone[id] == are_gone then
            reply[i * 2 - 1], reply[i * 2] = renew(locks[i], id, ARGV[from + 2] + 0, ARGV[from + 3] + 0,
                ARGV[from + 4] + 0)
        end
    end
end

renew_those(false)
renew_those(true)
-- Only now, so that nobody is passed over who was renewed; each lock once.
local is_looked_at = {}
for i = 1, #locks do
    local queue = locks[i].queue
    if reply[i * 2 - 1] ~= HELD and not is_looked_at[queue] then
        is_looked_at[queue] = true
        lock_hand_over(lock_open(i * 3 - 2, ''))
    end
end
return reply
