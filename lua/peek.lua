-- What limits would answer now, and nothing is charged: for operators who look.  What it takes, gives and
-- promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limits, granted = limits_look(#KEYS)
if not limits then
    return granted
end
local reply = limits_charge(limits, 0)
reply[1] = granted
return reply
