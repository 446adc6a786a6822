-- What every script that looks at time begins with.  clock: the server's time in us.

local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
