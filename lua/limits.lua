-- Decides limits for groups of requests: those of a group ask for the same keys, all groups ask the same of
-- their keys.  Each group is decided on its own, in their order, as if it were a call of its own.
-- What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limit_count, limit_at = ARGV[1] + 0, 2
local count_at = limit_at + 8 * limit_count
-- @include limit_open
local limit_reply, reply_at = {0, 0, 0, 0, 0}, 0
for first_key = 0, #KEYS - 1, limit_count do
    count_at = count_at + 1
    local asked = ARGV[count_at] + 0
    -- @include limit_look
    if trouble then
        -- Its neighbours are decided all the same.
        granted = 0
        for i = reply_at + 2, reply_at + 1 + 4 * limit_count do
            limit_reply[i] = 0
        end
        limit_reply[reply_at + 1] = trouble
    else
        -- @include limit_charge
    end
    reply_at = reply_at + 1 + 4 * limit_count
end
return limit_reply
