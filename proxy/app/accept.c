#include "app/accept.h"

#define WEIGHT_DIGITS 3
#define FULL_WEIGHT 1000u

/* "0.25"; what is none counts in full. */
static unsigned read_weight(struct slice text)
{
    unsigned weight = 0, digit_worth = FULL_WEIGHT / 10;

    if (text.len == 0 || text.at[0] != '0')
        return FULL_WEIGHT;
    for (size_t i = 2; i < text.len && i < 2 + WEIGHT_DIGITS; i++, digit_worth /= 10) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return FULL_WEIGHT;
        weight += (unsigned)(text.at[i] - '0') * digit_worth;
    }
    return weight;
}

bool accept_next(struct slice *list, struct accept_item *ret_item)
{
    struct slice item, part;

    if (!slice_split(list, ',', &item) || !slice_split(&item, ';', &part))
        return false;
    *ret_item = (struct accept_item){.name = slice_trim(part), .weight = FULL_WEIGHT};
    while (slice_split(&item, ';', &part)) {
        part = slice_trim(part);
        if (part.len > 2 && (part.at[0] == 'q' || part.at[0] == 'Q') && part.at[1] == '=')
            ret_item->weight = read_weight(slice_skip(part, 2));
    }
    return true;
}
