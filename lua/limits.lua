-- Decides all limits of a request in one call, all or nothing, for a batch of identical requests.
-- What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limit_count = #KEYS
-- @include limit_look
-- @include limit_charge
return limit_reply
