-- Fixed window: its start and what is used of it.

local DAY_US = 86400000000

-- The day (1970-01-01 is 0) on which a month begins.  Counts years from March, so that the leap day
-- is the last of the year; month is 0 for March to 11 for February.
local function first_day(year, month)
    local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    return 365 * year + leap_days + math.floor((153 * month + 2) / 5) - 719468
end

-- Start and end of the civil month or year in which a day lies, as days.
local function civil_window(day, period)
    -- 146097 days are 400 years.  The estimate is at most one too high.
    local year = math.floor((day + 719468) / 365.2425 + 0.01)
    if first_day(year, 0) > day then
        year = year - 1
    end
    local month = math.floor((5 * (day - first_day(year, 0)) + 2) / 153)
    if period == 'month' then
        local next_month = month == 11 and first_day(year + 1, 0) or first_day(year, month + 1)
        return first_day(year, month), next_month
    end
    local january = month >= 10 and year or year - 1
    return first_day(january, 10), first_day(january + 1, 10)
end

-- Start and end of the calendar window around a time.
local function calendar_window(now, period, offset)
    local here = now + offset
    local from, to
    if period == 'month' or period == 'year' then
        from, to = civil_window(math.floor(here / DAY_US), period)
        from, to = from * DAY_US, to * DAY_US
    else
        -- 1970-01-01 was a Thursday, weeks begin on Monday.
        local shift = period % (7 * DAY_US) == 0 and 4 * DAY_US or 0
        from = math.floor((here - shift) / period) * period + shift
        to = from + period
    end
    return from - offset, to - offset
end

local count, period = ARGV[at + 3] + 0, tonumber(ARGV[at + 4]) or ARGV[at + 4]
local is_calendar, offset = ARGV[at + 6] == 'c', ARGV[at + 7] + 0
local from, to, used
capacity = count

look = function(key)
    local start
    start, used = read(key, '^f1:(%d+):(%d+)$')
    if start == nil then
        return nil, used
    end
    if start then
        start, used = start + 0, used + 0
    end
    local now = start and math.max(clock, start) or clock
    if is_calendar then
        from, to = calendar_window(now, period, offset)
    elseif start and now < start + period then
        from, to = start, start + period
    else
        from, to = now, now + period
    end
    if not start or start < from then
        used = 0
    end
    return count - used
end

finish = function(key, units, cost)
    local left = to - clock
    used = used + units
    if units > 0 then
        redis.call('SET', key, string.format('f1:%.0f:%.0f', from, used), 'PX', ttl_ms(left))
    end
    return cost and left or 0, (used > 0 or is_calendar) and left or 0
end
