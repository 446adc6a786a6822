-- What every script that looks at time begins with.  clock: the server's time in us.

local redis_call, redis_pcall = redis.call, redis.pcall
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local match, format, sub = string.match, string.format, string.sub

local time = redis_call('TIME')
local clock = time[1] * 1000000 + time[2]
