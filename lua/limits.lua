-- Decides all limits of a request in one call, all or nothing, for a batch of identical requests.
-- What it takes, gives and promises is written in lua/README.md.
-- @include clock
-- @include limit_parts

local limits, granted = limits_look(#KEYS)
if not limits then
    return granted
end
return limits_charge(limits, granted)
