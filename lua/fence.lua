-- Checks a fencing token in front of the resource.  What it takes, gives and promises is written in
-- lua/README.md.  Time plays no part: what was forgotten was never issued.

local PASS, STALE, NEVER_ISSUED = 1, 0, -1

local token = ARGV[1] + 0
local known = redis.call('HMGET', KEYS[1], 'f', 't')
local issued, lowest = (known[1] or 0) + 0, (known[2] or 0) + 0

if token > issued or token < 1 then
    return {NEVER_ISSUED, lowest, issued}
end
if token < lowest then
    return {STALE, lowest, issued}
end
if ARGV[2] == '1' and token > lowest then
    lowest = token
    redis.call('HSET', KEYS[1], 't', string.format('%.0f', token))
end
return {PASS, lowest, issued}
