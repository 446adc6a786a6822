-- Charges granted of the requests that limit_look has looked at, and puts the answer behind
-- limit_reply[reply_at].
limit_reply[reply_at + 1] = granted
for i = 1, limit_count do
    local limit = limits[i]
    local cost, fits, n = limit.cost, limit.fits, reply_at + 4 * i - 3
    local units = (fits < granted and fits or granted) * cost
    local allowed, is_short = 1, false
    if limit.is_shadow then
        allowed = fits > granted and asked or fits
        is_short = allowed < asked
    elseif granted < asked and fits == granted then
        allowed, is_short = 0, true
    end
    local can_pass = cost <= limit.capacity
    local wait, reset = limit.finish(KEYS[first_key + i], units, is_short and can_pass and cost or nil)
    local room = limit.room - units
    limit_reply[n + 1] = allowed
    limit_reply[n + 2] = room > 0 and room or 0
    -- Never, if it costs more than the limit holds.
    limit_reply[n + 3] = is_short and not can_pass and -1 or wait
    limit_reply[n + 4] = reset
end
