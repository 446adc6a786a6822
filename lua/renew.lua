-- Keeps what a worker holds and waits for, all of it in one call; confirms grants.  A renewal never
-- creates.  What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include lock_parts
-- @include lock_held
-- @include lock_waiters

local HELD, WAITING, GONE = 1, 0, -1

local function renew(lock, id, lease, delay, heartbeat)
    local ends = lock.record and lock_score(lock, id)
    local token = lock_held_token(lock, ends, delay)
    if token then
        lock_renew(lock, id, clock + lease + delay)
        return HELD, token
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
local idle = {}
for at = 1, #KEYS, 3 do
    local from = (at - 1) / 3 * 4
    local id = ARGV[from + 1]
    local lock = lock_open(at, id)
    local state, token = renew(lock, id, ARGV[from + 2] + 0, ARGV[from + 3] + 0, ARGV[from + 4] + 0)
    if state ~= HELD then
        idle[lock.queue] = at
    end
    reply[#reply + 1] = state
    reply[#reply + 1] = token
end
-- Only now, so that nobody is passed over who is renewed later in this call; each lock once.
for at = 1, #KEYS, 3 do
    if idle[KEYS[at + 1]] == at then
        lock_hand_over(lock_open(at, ''))
    end
end
return reply
