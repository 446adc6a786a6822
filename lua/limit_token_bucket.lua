-- Token bucket: how much is used, as whole tokens and a part in 1/period tokens, and since when.
-- count tokens per period come back.  This is GCRA with its clock turned into tokens: exact for
-- rates that do not divide a microsecond, and still right after the rate was changed.

local period_text = ARGV[at + 4]
local count, period, burst = ARGV[at + 3] + 0, period_text + 0, ARGV[at + 5] + 0
local now, used, part
capacity = burst

look = function(key)
    local since, of
    since, used, part, of = read(key, '^t1:(%d+):(%d+):(%d+):(%d+)$')
    if since == nil then
        return nil, used
    end
    now = clock
    if since then
        since, used, part = since + 0, used + 0, part + 0
        if of ~= period_text and part > 0 then
            used, part = used + 1, 0
        end
        if used >= burst then
            used, part = burst, 0
        end
        if since > now then
            now = since
        end
        local elapsed = now - since
        if elapsed * count >= (used + 2) * period then
            used, part = 0, 0
        elseif elapsed > 0 then
            local back, back_part = divide(elapsed, count, period)
            used, part = used - back, part - back_part
            if part < 0 then
                used, part = used - 1, part + period
            end
            if used < 0 then
                used, part = 0, 0
            end
        end
    else
        used, part = 0, 0
    end
    return burst - used - (part > 0 and 1 or 0)
end

finish = function(key, units, cost)
    local wait, reset = 0, 0
    used = used + units
    if used > 0 or part > 0 then
        -- Until whole tokens and the part have come back.
        local us, rest = divide(period, used, count)
        reset = now - clock + us + math.ceil((rest + part) / count)
    end
    if units > 0 then
        redis.call('SET', key, string.format('t1:%.0f:%.0f:%.0f:%s', now, used, part, period_text),
            'PX', ttl_ms(reset))
    end
    if cost then
        local us, rest = divide(period, used + cost - burst, count)
        wait = now - clock + us + math.ceil((rest + part) / count)
    end
    return wait, reset
end
