-- Makes limits, a list, of the arguments behind ARGV[limit_at], eight for each of limit_count.
--
-- An algorithm is two functions and a number:
--   look(key)       reads the state.  Gives how many units could be charged now; or nil and an error
--   finish(key, units, cost)
--                   after look for the same key: takes units and writes the state, if there are any.  Gives the
--                   microseconds from clock until cost units fit, if nobody else takes any (0 when cost is nil;
--                   else it is more than is left, and at most capacity), and those until nothing is used any
--                   more, or the window ends
--   capacity        how many units could be charged if nothing were used

local limits = {}
for i = 1, limit_count do
    local at = limit_at + 8 * i - 7
    local name = ARGV[at]
    local look, finish, capacity
    if name == 't' then
        -- @include limit_token_bucket
    elseif name == 'w' then
        -- @include limit_sliding_window
    elseif name == 'f' then
        -- @include limit_fixed_window
    else
        -- @include limit_sliding_log
    end
    -- For each group: room, what look has found, and fits, how many of its requests this limit alone would pass.
    limits[i] = {look = look, finish = finish, capacity = capacity, cost = ARGV[at + 2] + 0, room = 0, fits = 0,
        is_shadow = ARGV[at + 1] == 's'}
end
