-- Sliding log: a sorted set with one entry for each charge, scored by its time.  A member is the sum
-- of all units up to and with this entry, and its own units, so that what is used is a difference of
-- two sums; the sum has 16 digits, so that members of equal score are in order.

local function entry(member)
    local sum, units = string.match(member or '', '^l1:(%d+):(%d+)$')
    return tonumber(sum), tonumber(units)
end

local function foreign(key)
    return {err = 'LKSTATE key holds something that is not the state of a limit: ' .. key}
end

-- When the first entry leaves the window after which little enough is left.  Sums grow with ranks by
-- at least one, which bounds the search; when all costs are one, the bound is the answer.
local function leaving_time(key, edge, enough, first_sum)
    local low = redis.call('ZCOUNT', key, '-inf', edge)
    local high = math.min(redis.call('ZCARD', key) - 1, low + math.max(0, enough - first_sum))
    local probe = high - 1
    while low < high do
        local sum = entry(redis.call('ZRANGE', key, probe, probe)[1])
        if sum >= enough then
            high = probe
        else
            low = probe + 1
        end
        probe = math.floor((low + high) / 2)
    end
    return redis.call('ZRANGE', key, low, low, 'WITHSCORES')[2]
end

local count, period = ARGV[at + 3] + 0, ARGV[at + 4] + 0
local now, used, sum, latest, first_sum, edge, is_other
capacity = count

look = function(key)
    now, used, sum = clock, 0, 0
    latest, first_sum, is_other = nil, nil, nil
    local last = redis.pcall('ZRANGE', key, -1, -1, 'WITHSCORES')
    if last.err then
        if read(key, 'none') == nil then
            return nil, last
        end
        is_other = true
    elseif last[1] then
        sum = entry(last[1])
        if not sum then
            return nil, foreign(key)
        end
        latest = last[2] + 0
        now = math.max(clock, latest)
    end
    edge = string.format('%.0f', now - period)
    if latest and latest > now - period then
        local first = redis.call('ZRANGEBYSCORE', key, '(' .. edge, '+inf', 'LIMIT', 0, 1)
        local units
        first_sum, units = entry(first[1])
        if not first_sum then
            return nil, foreign(key)
        end
        used = sum - first_sum + units
    end
    if used == 0 then
        sum = 0
    end
    return count - used
end

finish = function(key, units, cost)
    if units > 0 then
        if is_other then
            redis.call('DEL', key)
        elseif latest then
            redis.call('ZREMRANGEBYSCORE', key, '-inf', edge)
        end
        sum, used, latest = sum + units, used + units, now
        first_sum = first_sum or sum
        redis.call('ZADD', key, string.format('%.0f', latest), string.format('l1:%016.0f:%.0f', sum, units))
        redis.call('PEXPIRE', key, ttl_ms(latest + period - clock))
    end
    return cost and leaving_time(key, edge, sum - (count - cost), first_sum) + period - clock or 0,
        used > 0 and latest + period - clock or 0
end
