-- Looks at the first limit_count KEYS; their arguments are ARGV[3] and on.  Makes
--   limits    what limit_charge needs of each
--   asked     how many requests ask, and granted, how many of them all limits let pass together
-- An error is the script's reply.
--
-- An algorithm is two functions:
--   look(key, at)   reads the state; the limit's arguments are ARGV[at] and on.  Gives how many units could
--                   be charged now, how many if nothing were used, and a list for finish; or nil and an error
--   finish(key, list, units, cost, capacity)
--                   takes units and writes the state, if there are any.  Gives the microseconds from clock
--                   until cost units fit, if nobody else takes any (0 when cost is nil; else it is more than
--                   is left, and at most capacity), and those until nothing is used any more, or the window
--                   ends

local asked = ARGV[1] + 0
local granted, limits = asked, {}
for i = 1, limit_count do
    local at = 8 * i - 5
    local name, cost, fits = ARGV[at], ARGV[at + 2] + 0, asked
    local look, finish
    if name == 't' then
        -- @include limit_token_bucket
    elseif name == 'w' then
        -- @include limit_sliding_window
    elseif name == 'f' then
        -- @include limit_fixed_window
    else
        -- @include limit_sliding_log
    end
    local room, capacity, state = look(KEYS[i], at)
    if not room then
        return capacity
    end
    local is_shadow = ARGV[at + 1] == 's'
    -- How many of the requests this limit alone would let pass.
    if cost > 0 then
        fits = math.min(asked, math.floor(math.max(0, room) / cost))
    end
    if not is_shadow and fits < granted then
        granted = fits
    end
    limits[i] = {finish = finish, state = state, room = room, capacity = capacity, cost = cost, fits = fits,
        is_shadow = is_shadow}
end
