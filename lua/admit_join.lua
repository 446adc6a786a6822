-- Waits, if there is room in the queues.  Part of admit; needs admit_queue.

local function join()
    local queue_max, rank = ARGV[at + 9] + 0, 0
    for i = 1, #locks do
        local length = redis.call('ZCARD', locks[i].queue)
        if length >= queue_max then
            -- @include admit_sweep
            length = sweep(locks[i])
        end
        if length >= queue_max then
            return refuse(FULL)
        end
        rank = math.max(rank, length)
    end
    place, wait_until = last_place(), clock + wait
    queue_up()
    return stay(rank)
end
