-- Forced release by an operator: every holder is out, the fence's floor rises above their tokens, the
-- queue goes on.  What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include lock_parts

local lock = lock_open(1, '')
local count = 0
while true do
    local holders = redis.call('ZRANGE', lock.holders, 0, PORTION - 1)
    if #holders == 0 then
        break
    end
    redis.call('ZREM', lock.holders, unpack(holders))
    redis.call('HDEL', lock.records, unpack(holders))
    count = count + #holders
end
-- Also when nobody holds it: somebody whose lease lapsed may still be writing.
if lock.last > 0 then
    local token = lock_next_token({lock}, true)
    local text = lock_text(token)
    redis.call('HSET', lock.records, 'f', text, 'n', text, 'x', text, 't', text, 'u', text)
    redis.call('PEXPIRE', lock.records, LOCK_TTL_MS)
    lock.last = token
end
lock_hand_over(lock)
return count
