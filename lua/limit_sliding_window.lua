-- Sliding window: this window's use, and the last one's weighted by how much of it still lies within
-- a period from now, rounded up.

local count, period = ARGV[at + 3] + 0, ARGV[at + 4] + 0
local from, used, before
capacity = count

look = function(key)
    local start
    start, used, before = read(key, '^w1:(%d+):(%d+):(%d+)$')
    if start == nil then
        return nil, used
    end
    if start then
        start, used, before = start + 0, used + 0, before + 0
    else
        start, used, before = 0, 0, 0
    end
    local now = start > clock and start or clock
    from = math.floor(now / period) * period
    if start < from then
        before = start >= from - period and used or 0
        used = 0
    end
    local weighted, rest = divide(from + period - now, before, period)
    return count - used - weighted - (rest > 0 and 1 or 0)
end

finish = function(key, units, cost)
    local wait, reset = 0, 0
    used = used + units
    if units > 0 then
        redis.call('SET', key, string.format('w1:%.0f:%.0f:%.0f', from, used, before), 'PX',
            ttl_ms(from + 2 * period - clock))
    end
    if cost then
        local to, fading, spare = from + period, before, count - used - cost
        if spare < 0 then
            -- Not in this window: in the next one, this window's use is the one that fades.
            to, fading, spare = to + period, used, count - cost
        end
        -- So long before the end, no more than spare of the fading units count.
        wait = to - divide(period, spare, fading) - clock
    end
    if used > 0 then
        reset = from + 2 * period - clock
    elseif before > 0 then
        reset = from + period - clock
    end
    return wait, reset
end
