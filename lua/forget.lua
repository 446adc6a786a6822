-- Forgets the state of limits, by an operator's order.  What it takes, gives and promises is written in
-- lua/README.md.

return redis.call('DEL', unpack(KEYS))
