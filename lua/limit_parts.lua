-- Limits, for the scripts that decide them: limits, and admit, which decides a lock with them.
-- Needs clock.
--
-- First every limit is looked at, then the number of requests to grant is known, then every limit is
-- charged.  Nothing is written before the last look, and nothing at all when nothing is charged.
--
-- All numbers are whole and below 2^53, so that arithmetic on them is exact.  Names: clock is the
-- server's time; a limit's now is never before what its state has seen; both in microseconds.

local MAX_EXACT = 9007199254740992
local DAY_US = 86400000000
local NEVER = -1

-- a * b / c as quotient and remainder, exact although a * b may be as large as 2^80.
-- Needs a and c below 2^48 and b below 2^32.
local function divide(a, b, c)
    local product = a * b
    if product < MAX_EXACT then
        local quotient = floor(product / c)
        return quotient, product - quotient * c
    end
    -- Long division, with b in digits of base 16.
    local quotient, rest, unit = 0, 0, 268435456
    while unit >= 1 do
        local digit = floor(b / unit)
        b = b - digit * unit
        rest = rest * 16 + a * digit
        local part = floor(rest / c)
        quotient, rest = quotient * 16 + part, rest - part * c
        unit = unit / 16
    end
    return min(quotient, MAX_EXACT), rest
end

-- The error of a key that holds something we did not write.
local function foreign(key)
    return {err = 'LKSTATE key holds something that is not the state of a limit: ' .. key}
end

-- The state text of a limit, or false when it has none, or nil and an error.  State that another
-- algorithm left under the key (the policy was changed) counts as none.
local function get(key, kind)
    local value = redis_pcall('GET', key)
    if value == false then
        return false
    end
    if type(value) == 'string' then
        if match(value, '^(%a1):') == kind then
            return value
        end
        if match(value, '^[tfw]1:[%d:]+$') then
            return false
        end
        return nil, foreign(key)
    end
    local first = redis_pcall('ZRANGE', key, 0, 0)
    if first[1] and match(first[1], '^l1:%d+:%d+$') then
        return false
    end
    return nil, value.err and first.err and value or foreign(key)
end

-- The state may go when it would be empty anyway, plus a margin for clocks that differ after a
-- failover: a tenth, at least a second, at most a minute.
local function ttl_ms(until_empty_us)
    local margin_us = max(1000000, min(60000000, until_empty_us / 10))
    return format('%.0f', ceil((until_empty_us + margin_us) / 1000))
end

local function set(key, until_us, text)
    redis_call('SET', key, text, 'PX', ttl_ms(until_us - clock))
end

-- Each algorithm is made only when a limit of the call uses it: making functions costs.  It has four
-- parts, all on the table of one limit:
--   look    reads the state, sets room: how many units could be charged now; returns an error or nil
--   charge  takes units (more than 0, at most room) and writes the state
--   wait    microseconds from clock until cost units fit, if nobody else takes any; room < cost
--   reset   microseconds from clock until nothing is used any more, or the window ends

-- Token bucket: how much is used, as whole tokens and a part in 1/period tokens, and since when.
-- count tokens per period come back.  This is GCRA with its clock turned into tokens: exact for
-- rates that do not divide a microsecond, and still right after the rate was changed.
local function token_bucket()
    local function look(limit)
        local value, failure = get(limit.key, 't1')
        if value == nil then
            return failure
        end
        local count, period = limit.count, limit.period
        local used, part, now = 0, 0, clock
        if value then
            local since, whole, rest, of = match(value, '^t1:(%d+):(%d+):(%d+):(%d+)$')
            if not since then
                return foreign(limit.key)
            end
            used, part, since = whole + 0, rest + 0, since + 0
            if of + 0 ~= period and part > 0 then
                used, part = used + 1, 0
            end
            if used >= limit.burst then
                used, part = limit.burst, 0
            end
            now = max(clock, since)
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
        end
        limit.now, limit.used, limit.part = now, used, part
        limit.capacity = limit.burst
        limit.room = limit.burst - used - (part > 0 and 1 or 0)
    end

    -- Until units whole tokens and the part have come back.
    local function refill(limit, units)
        local us, rest = divide(limit.period, units, limit.count)
        return us + ceil((rest + limit.part) / limit.count)
    end

    local function charge(limit, units)
        limit.used = limit.used + units
        limit.room = limit.room - units
        set(limit.key, limit.now + refill(limit, limit.used),
            format('t1:%.0f:%.0f:%.0f:%.0f', limit.now, limit.used, limit.part, limit.period))
    end

    local function wait(limit)
        return limit.now + refill(limit, limit.used + limit.cost - limit.burst) - clock
    end

    local function reset(limit)
        if limit.used == 0 and limit.part == 0 then
            return 0
        end
        return limit.now + refill(limit, limit.used) - clock
    end

    return {look = look, charge = charge, wait = wait, reset = reset}
end

-- Fixed window: its start and what is used of it.
local function fixed_window()
    -- The day (1970-01-01 is 0) on which a month begins.  Counts years from March, so that the leap day
    -- is the last of the year; month is 0 for March to 11 for February.
    local function first_day(year, month)
        local leap_days = floor(year / 4) - floor(year / 100) + floor(year / 400)
        return 365 * year + leap_days + floor((153 * month + 2) / 5) - 719468
    end

    -- Start and end of the civil month or year in which a day lies, as days.
    local function civil_window(day, period)
        -- 146097 days are 400 years.  The estimate is at most one too high.
        local year = floor((day + 719468) / 365.2425 + 0.01)
        if first_day(year, 0) > day then
            year = year - 1
        end
        local month = floor((5 * (day - first_day(year, 0)) + 2) / 153)
        if period == 'month' then
            local next_month = month == 11 and first_day(year + 1, 0) or first_day(year, month + 1)
            return first_day(year, month), next_month
        end
        local january = month >= 10 and year or year - 1
        return first_day(january, 10), first_day(january + 1, 10)
    end

    -- Start and end of the calendar window around a time.
    local function calendar_window(limit, now)
        local here = now + limit.offset
        local from, to
        if limit.period == 'month' or limit.period == 'year' then
            from, to = civil_window(floor(here / DAY_US), limit.period)
            from, to = from * DAY_US, to * DAY_US
        else
            -- 1970-01-01 was a Thursday, weeks begin on Monday.
            local shift = limit.period % (7 * DAY_US) == 0 and 4 * DAY_US or 0
            from = floor((here - shift) / limit.period) * limit.period + shift
            to = from + limit.period
        end
        return from - limit.offset, to - limit.offset
    end


    local function look(limit)
        local value, failure = get(limit.key, 'f1')
        if value == nil then
            return failure
        end
        local start, used
        if value then
            start, used = match(value, '^f1:(%d+):(%d+)$')
            if not start then
                return foreign(limit.key)
            end
            start, used = start + 0, used + 0
        end
        local now = start and max(clock, start) or clock
        if limit.align == 'c' then
            limit.from, limit.to = calendar_window(limit, now)
        elseif start and now < start + limit.period then
            limit.from, limit.to = start, start + limit.period
        else
            limit.from, limit.to = now, now + limit.period
        end
        if not start or start < limit.from then
            used = 0
        end
        limit.used = used
        limit.capacity = limit.count
        limit.room = limit.count - used
    end

    local function charge(limit, units)
        limit.used = limit.used + units
        limit.room = limit.room - units
        set(limit.key, limit.to, format('f1:%.0f:%.0f', limit.from, limit.used))
    end

    local function wait(limit)
        return limit.to - clock
    end

    local function reset(limit)
        if limit.used == 0 and limit.align ~= 'c' then
            return 0
        end
        return limit.to - clock
    end

    return {look = look, charge = charge, wait = wait, reset = reset}
end

-- Sliding window: this window's use, and the last one's weighted by how much of it still lies within
-- a period from now, rounded up.
local function sliding_window()
    local function look(limit)
        local value, failure = get(limit.key, 'w1')
        if value == nil then
            return failure
        end
        local period = limit.period
        local start, used, before = 0, 0, 0
        if value then
            start, used, before = match(value, '^w1:(%d+):(%d+):(%d+)$')
            if not start then
                return foreign(limit.key)
            end
            start, used, before = start + 0, used + 0, before + 0
        end
        local now = max(clock, start)
        local from = floor(now / period) * period
        if start < from then
            before = start >= from - period and used or 0
            used = 0
        end
        limit.from, limit.used, limit.before = from, used, before
        limit.capacity = limit.count
        local weighted, rest = divide(from + period - now, before, period)
        limit.room = limit.count - used - weighted - (rest > 0 and 1 or 0)
    end

    local function charge(limit, units)
        limit.used = limit.used + units
        limit.room = limit.room - units
        set(limit.key, limit.from + 2 * limit.period,
            format('w1:%.0f:%.0f:%.0f', limit.from, limit.used, limit.before))
    end

    local function wait(limit)
        local to = limit.from + limit.period
        local units, spare = limit.before, limit.count - limit.used - limit.cost
        if spare < 0 then
            -- Not in this window: in the next one, this window's use is the one that fades.
            to = to + limit.period
            units, spare = limit.used, limit.count - limit.cost
        end
        -- So long before the end, no more than spare of the fading units count.
        return to - divide(limit.period, spare, units) - clock
    end

    local function reset(limit)
        if limit.used > 0 then
            return limit.from + 2 * limit.period - clock
        end
        return limit.before > 0 and limit.from + limit.period - clock or 0
    end

    return {look = look, charge = charge, wait = wait, reset = reset}
end

-- Sliding log: a sorted set with one entry for each charge, scored by its time.  A member is the sum
-- of all units up to and with this entry, and its own units, so that what is used is a difference of
-- two sums; the sum has 16 digits, so that members of equal score are in order.
local function sliding_log()
    local function entry(member)
        local sum, units = match(member or '', '^l1:(%d+):(%d+)$')
        return tonumber(sum), tonumber(units)
    end

    local function look(limit)
        local key = limit.key
        local now, used, sum = clock, 0, 0
        local last = redis_pcall('ZRANGE', key, -1, -1, 'WITHSCORES')
        if last.err then
            if get(key, 'none') == nil then
                return last
            end
            limit.replaces = true
        elseif last[1] then
            sum = entry(last[1])
            if not sum then
                return foreign(key)
            end
            now = max(clock, last[2] + 0)
            limit.last = last[2] + 0
        end
        limit.edge = format('%.0f', now - limit.period)
        if limit.last and limit.last > now - limit.period then
            local first = redis_call('ZRANGEBYSCORE', key, '(' .. limit.edge, '+inf', 'LIMIT', 0, 1)
            local first_sum, first_units = entry(first[1])
            if not first_sum then
                return foreign(key)
            end
            limit.first_sum = first_sum
            used = sum - first_sum + first_units
        end
        limit.now, limit.used, limit.sum = now, used, used > 0 and sum or 0
        limit.capacity = limit.count
        limit.room = limit.count - used
    end

    local function charge(limit, units)
        local key = limit.key
        if limit.replaces then
            redis_call('DEL', key)
        elseif limit.last then
            redis_call('ZREMRANGEBYSCORE', key, '-inf', limit.edge)
        end
        limit.sum = limit.sum + units
        limit.used = limit.used + units
        limit.room = limit.room - units
        limit.last = limit.now
        limit.first_sum = limit.first_sum or limit.sum
        redis_call('ZADD', key, format('%.0f', limit.now), format('l1:%016.0f:%.0f', limit.sum, units))
        redis_call('PEXPIRE', key, ttl_ms(limit.now + limit.period - clock))
    end

    -- The first entry after which little enough is left has to leave the window.  Sums grow with ranks by
    -- at least one, which bounds the search; when all costs are one, the bound is the answer.
    local function wait(limit)
        local key = limit.key
        local enough = limit.sum - (limit.count - limit.cost)
        local low = redis_call('ZCOUNT', key, '-inf', limit.edge)
        local high = min(redis_call('ZCARD', key) - 1, low + max(0, enough - limit.first_sum))
        local probe = high - 1
        while low < high do
            local sum = entry(redis_call('ZRANGE', key, probe, probe)[1])
            if sum >= enough then
                high = probe
            else
                low = probe + 1
            end
            probe = floor((low + high) / 2)
        end
        local leaves = redis_call('ZRANGE', key, low, low, 'WITHSCORES')[2]
        return leaves + limit.period - clock
    end

    local function reset(limit)
        return limit.used > 0 and limit.last + limit.period - clock or 0
    end

    return {look = look, charge = charge, wait = wait, reset = reset}
end

local makers = {t = token_bucket, f = fixed_window, w = sliding_window, l = sliding_log}
local algorithms = {}

local asked = ARGV[1] + 0

-- Looks at the first count KEYS; their arguments are ARGV[3] and on.  Gives the limits and how many of
-- the requests they grant together, or nil and an error.
local function limits_look(count)
    local granted = asked
    local limits = {}
    for i = 1, count do
        local at = 8 * i - 5
        local period, name = ARGV[at + 4], ARGV[at]
        local algorithm = algorithms[name]
        if not algorithm then
            algorithm = makers[name]()
            algorithms[name] = algorithm
        end
        -- All fields are named here, so that the table is made in the right size at once.
        local limit = {
            key = KEYS[i],
            algorithm = algorithm,
            is_shadow = ARGV[at + 1] == 's',
            cost = ARGV[at + 2] + 0,
            count = ARGV[at + 3] + 0,
            period = tonumber(period) or period,
            burst = ARGV[at + 5] + 0,
            align = ARGV[at + 6],
            offset = ARGV[at + 7] + 0,
            fits = asked,
            capacity = 0, room = 0, used = 0,
            now = clock, from = 0, to = 0, before = 0, part = 0,
        }
        local failure = algorithm.look(limit)
        if failure then
            return nil, failure
        end
        -- How many of the requests this limit alone would let pass.
        if limit.cost > 0 then
            limit.fits = min(asked, floor(max(0, limit.room) / limit.cost))
        end
        if not limit.is_shadow and limit.fits < granted then
            granted = limit.fits
        end
        limits[i] = limit
    end
    return limits, granted
end

-- Charges granted of the requests, and gives the reply.
local function limits_charge(limits, granted)
    local reply = {granted}
    for i = 1, #limits do
        local limit = limits[i]
        local units = min(granted, limit.fits) * limit.cost
        if units > 0 then
            limit.algorithm.charge(limit, units)
        end
        local allowed, retry = 1, 0
        if limit.is_shadow then
            allowed = limit.fits > granted and asked or limit.fits
        elseif granted < asked and limit.fits == granted then
            allowed = 0
        end
        if allowed < (limit.is_shadow and asked or 1) then
            retry = limit.cost > limit.capacity and NEVER or limit.algorithm.wait(limit)
        end
        local n = #reply
        reply[n + 1] = allowed
        reply[n + 2] = max(0, limit.room)
        reply[n + 3] = retry
        reply[n + 4] = limit.algorithm.reset(limit)
    end
    return reply
end
