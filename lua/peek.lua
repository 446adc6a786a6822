-- What limits would answer now, and nothing is charged: for operators who look.  What it takes, gives and
-- promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limit_count = #KEYS
-- @include limit_look
local would_be_granted = granted
granted = 0
-- @include limit_charge
limit_reply[1] = would_be_granted
return limit_reply
