-- What limits would answer a group now, and nothing is charged: for operators who look.  What it takes, gives
-- and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limit_count, limit_at, first_key = ARGV[1] + 0, 2, 0
local asked = ARGV[#ARGV] + 0
-- @include limit_open
-- @include limit_look
if trouble then
    return trouble
end
local would_be_granted = granted
granted = 0
local limit_reply, reply_at = {}, 0
-- @include limit_charge
limit_reply[1] = would_be_granted
return limit_reply
