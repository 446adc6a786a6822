-- Looks at the limits of asked requests, whose keys are those behind KEYS[first_key].  Makes
--   granted   how many of them all limits let pass together
--   trouble   an error when a key holds something that is not ours: nothing may be charged then
local granted, trouble = asked, nil
for i = 1, limit_count do
    local limit = limits[i]
    local room, problem = limit.look(KEYS[first_key + i])
    if not room then
        trouble = problem
        break
    end
    local cost, fits = limit.cost, asked
    if cost > 0 then
        fits = math.floor(room / cost)
        fits = fits < 0 and 0 or fits > asked and asked or fits
    end
    limit.room, limit.fits = room, fits
    if fits < granted and not limit.is_shadow then
        granted = fits
    end
end
