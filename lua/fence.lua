-- Checks a fencing token in front of the resource.  What it takes, gives and promises is written in
-- lua/README.md.  Time plays no part: what was forgotten was never issued.

local PASS, STALE, NEVER_ISSUED = 1, 0, -1

local token = ARGV[1] + 0
-- u: the highest token that came by; t: the highest of one who held alone.
local known = redis.call('HMGET', KEYS[1], 'f', 't', 'u')
local issued, alone, any = (known[1] or 0) + 0, (known[2] or 0) + 0, (known[3] or 0) + 0

-- One who holds alone (even) must be newer than everybody; readers among themselves have no order.
local is_alone = token % 2 == 0
local lowest = is_alone and any or alone
if token > issued or token < 1 then
    return {NEVER_ISSUED, lowest, issued}
end
if token < lowest then
    return {STALE, lowest, issued}
end
if ARGV[2] == '1' and token > any then
    local text = string.format('%.0f', token)
    if is_alone then
        redis.call('HSET', KEYS[1], 't', text, 'u', text)
    else
        redis.call('HSET', KEYS[1], 'u', text)
    end
end
return {PASS, is_alone and token or alone, issued}
