-- Limits, for the scripts that decide them: limits, and admit, which decides a lock with them.
-- limit_open reads what limits are asked; then, for each group of requests, limit_look looks at every limit, so
-- that the number of requests to grant is known, and limit_charge charges every limit.  Nothing of a group is
-- written before its last look, and nothing at all when nothing is charged.
--
-- All numbers are whole and below 2^53, so that arithmetic on them is exact.  Names: clock is the
-- server's time; a limit's now is never before what its state has seen; both in microseconds.
--
-- A script runs from its first line at each call, and to make a function costs a tenth of a redis.call,
-- more for each variable around it that it uses.  So what is not always needed is made where it is needed,
-- and the algorithms are included at the one place that uses them.

-- a * b / c as quotient and remainder, exact although a * b may be as large as 2^80.
-- Needs a and c below 2^48 and b below 2^32.
local function divide(a, b, c)
    local product = a * b
    if product < 9007199254740992 then
        local quotient = math.floor(product / c)
        return quotient, product - quotient * c
    end
    -- Long division, with b in digits of base 16.
    local floor, quotient, rest, unit = math.floor, 0, 0, 268435456
    while unit >= 1 do
        local digit = floor(b / unit)
        b = b - digit * unit
        rest = rest * 16 + a * digit
        local part = floor(rest / c)
        quotient, rest = quotient * 16 + part, rest - part * c
        unit = unit / 16
    end
    return math.min(quotient, 9007199254740992), rest
end

-- What the pattern of an algorithm finds in the state of a limit; or false when it has none; or nil and
-- an error, for a key that holds something we did not write.  State that another algorithm left under
-- the key (the policy was changed) counts as none.
local function read(key, pattern)
    local value = redis.pcall('GET', key)
    if not value then
        return false
    end
    if type(value) == 'string' then
        local a, b, c, d = string.match(value, pattern)
        if a then
            return a, b, c, d
        end
        local other = string.match(value, '^([tfw]1):[%d:]+$')
        if other and other ~= string.sub(pattern, 2, 3) then
            return false
        end
    else
        local first = redis.pcall('ZRANGE', key, 0, 0)
        if first[1] and string.match(first[1], '^l1:%d+:%d+$') then
            return false
        elseif value.err and first.err then
            return nil, value
        end
    end
    return nil, {err = 'LKSTATE key holds something that is not the state of a limit: ' .. key}
end

-- The state may go when it would be empty anyway, plus a margin for clocks that differ after a
-- failover: a tenth, at least a second, at most a minute.
local function ttl_ms(until_empty_us)
    return math.ceil((until_empty_us + math.max(1000000, math.min(60000000, until_empty_us / 10))) / 1000)
end
