-- When not all locks are free.  Part of admit.

-- How long until the first holder in the way ends, or nil.
local function until_end()
    local earliest
    for i = 1, #locks do
        local ends = locks[i].ends
        if ends and ends > clock and (not earliest or ends < earliest) then
            earliest = ends
        end
    end
    return earliest and earliest - clock
end

local function refuse(state)
    return {state, 0, 0, 0, until_end() or 0, 0}
end
