-- Shows who holds a lock and who waits for it, and writes nothing.  What it takes and gives is written
-- in lua/README.md.
-- @include clock
-- @include lock_parts
-- @include lock_waiters

local function text_of(number)
    return lock_text(math.max(0, number))
end

local count = ARGV[1] + 0
local known = redis.call('HMGET', KEYS[3], 'f', 'u')
local holders, waiters = {}, {}

local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. lock_text(clock), '+inf', 'WITHSCORES',
    'LIMIT', 0, count)
for i = 1, #found, 2 do
    local id = found[i]
    local kind, token = string.match(redis.call('HGET', KEYS[3], id) or '', '^([hg]):(%d+)$')
    local n = #holders
    holders[n + 1] = id
    holders[n + 2] = (token or 0) + 0
    holders[n + 3] = found[i + 1] - clock
    holders[n + 4] = kind == 'h' and 1 or 0
end

found = count > 0 and redis.call('ZRANGE', KEYS[2], 0, count - 1) or {}
for i = 1, #found do
    local waiter = lock_waiter(redis.call('HGET', KEYS[3], found[i]))
    if not lock_is_dead(waiter) then
        local n = #waiters
        waiters[n + 1] = found[i]
        waiters[n + 2] = math.max(0, waiter.wait_until - clock)
        waiters[n + 3] = math.max(0, waiter.alive_until - clock)
    end
end

return {(known[1] or 0) + 0, (known[2] or 0) + 0,
    redis.call('ZCOUNT', KEYS[1], '(' .. lock_text(clock), '+inf'), redis.call('ZCARD', KEYS[2]),
    holders, waiters}
