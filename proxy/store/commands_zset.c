/* Commands on sorted sets. */
#include "store/commands_private.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static bool arg_score(struct command_call *call, size_t at, double *ret_score)
{
    struct slice text = call->args[at];
    char *end;

    errno = 0;
    *ret_score = strtod(text.at, &end);
    if (*ret_score == 0)
        *ret_score = 0; /* a small set in Redis keeps no minus before a zero either */
    if (text.len > 0 && strchr(" \t\n\v\f\r", text.at[0]) == NULL && end == text.at + text.len &&
        !isnan(*ret_score) && !(errno == ERANGE && (isinf(*ret_score) || *ret_score == 0)))
        return true;
    give_error(call, "ERR value is not a valid float");
    return false;
}

static bool parse_bound(struct slice text, struct zset_bound *ret_bound)
{
    char *end;

    ret_bound->is_exclusive = text.len > 0 && text.at[0] == '(';
    if (ret_bound->is_exclusive)
        text = slice_skip(text, 1);
    ret_bound->score = strtod(text.at, &end);
    return *end == '\0' && !isnan(ret_bound->score);
}

static bool arg_bounds(struct command_call *call, size_t min_at, size_t max_at,
                       struct zset_bound *ret_min, struct zset_bound *ret_max)
{
    if (parse_bound(call->args[min_at], ret_min) && parse_bound(call->args[max_at], ret_max))
        return true;
    give_error(call, "ERR min or max is not a float");
    return false;
}

static bool arg_zset(struct command_call *call, struct entry **ret_entry)
{
    return arg_entry(call, ENTRY_ZSET, ret_entry);
}

/* After members were removed. */
static void account_or_remove(struct command_call *call, struct entry *entry)
{
    if (zset_count(&entry->zset) == 0)
        keyspace_remove(call->keyspace, entry);
    else
        keyspace_account(call->keyspace, entry);
}

/*
 * ZADD
 */

enum { ADD_NX = 1, ADD_XX = 2, ADD_GT = 4, ADD_LT = 8, ADD_CH = 16, ADD_INCR = 32 };

/* What became of one member. */
enum added { ADDED_NEW, ADDED_CHANGED, ADDED_SAME, ADDED_REFUSED, ADDED_NAN };

static bool parse_add_options(struct command_call *call, int *ret_options, size_t *ret_first)
{
    static const char *const names[] = {"nx", "xx", "gt", "lt", "ch", "incr"};
    size_t at = 2, pair_args;
    int options = 0;

    for (; at < call->arg_count; at++) {
        size_t option = 0;

        while (option < COUNT_OF(names) && !arg_is(call, at, names[option]))
            option++;
        if (option == COUNT_OF(names))
            break;
        options |= 1 << option;
    }
    pair_args = call->arg_count - at;
    *ret_options = options;
    *ret_first = at;
    if (pair_args == 0 || pair_args % 2 != 0)
        give_error(call, "ERR syntax error");
    else if ((options & ADD_NX) && (options & ADD_XX))
        give_error(call, "ERR XX and NX options at the same time are not compatible");
    else if (((options & ADD_GT) && (options & (ADD_NX | ADD_LT))) ||
             ((options & ADD_LT) && (options & ADD_NX)))
        give_error(call, "ERR GT, LT, and/or NX options at the same time are not compatible");
    else if ((options & ADD_INCR) && pair_args > 2)
        give_error(call, "ERR INCR option supports a single increment-element pair");
    else
        return true;
    return false;
}

static enum added add_one(struct zset *zset, int options, struct slice name, double *score)
{
    struct zset_member *member = zset_find(zset, name);

    if (member == NULL) {
        if (options & ADD_XX)
            return ADDED_REFUSED;
        zset_add(zset, name, *score);
        return ADDED_NEW;
    }
    if (options & ADD_NX)
        return ADDED_REFUSED;
    if (options & ADD_INCR)
        *score += member->score;
    if (isnan(*score))
        return ADDED_NAN;
    if (((options & ADD_LT) && *score >= member->score) ||
        ((options & ADD_GT) && *score <= member->score))
        return ADDED_REFUSED;
    if (*score == member->score)
        return ADDED_SAME;
    zset_set_score(zset, member, *score);
    return ADDED_CHANGED;
}

static void add_all(struct command_call *call, struct entry *entry, int options, size_t first,
                    double *scores)
{
    int64_t new_count = 0, changed_count = 0;
    enum added added = ADDED_REFUSED;

    for (size_t i = first; i < call->arg_count; i += 2) {
        added = add_one(&entry->zset, options, call->args[i + 1], &scores[(i - first) / 2]);
        new_count += added == ADDED_NEW;
        changed_count += added == ADDED_CHANGED;
    }
    if (added == ADDED_NAN)
        give_error(call, "ERR resulting score is not a number (NaN)");
    else if (!(options & ADD_INCR))
        give_integer(call, options & ADD_CH ? new_count + changed_count : new_count);
    else if (added != ADDED_REFUSED)
        give_double(call, call->reply, scores[0]);
}

void command_zadd(struct command_call *call)
{
    struct entry *entry;
    double *scores;
    size_t first;
    int options;

    if (!parse_add_options(call, &options, &first))
        return;
    scores = arena_alloc(call->context->arena, (call->arg_count - first) / 2 * sizeof *scores);
    for (size_t i = first; i < call->arg_count; i += 2)
        if (!arg_score(call, i, &scores[(i - first) / 2]))
            return;
    if (!arg_zset(call, &entry))
        return;
    if (entry == NULL && (options & ADD_XX)) {
        if (!(options & ADD_INCR))
            give_integer(call, 0);
        return;
    }
    if (entry == NULL)
        entry = keyspace_add(call->keyspace, call->args[1], ENTRY_ZSET);
    add_all(call, entry, options, first, scores);
    account_or_remove(call, entry);
}

/*
 * Members and counts
 */

void command_zcard(struct command_call *call)
{
    struct entry *entry;

    if (arg_zset(call, &entry))
        give_integer(call, entry != NULL ? (int64_t)zset_count(&entry->zset) : 0);
}

void command_zscore(struct command_call *call)
{
    struct entry *entry;
    struct zset_member *member = NULL;

    if (arg_zset(call, &entry) && entry != NULL)
        member = zset_find(&entry->zset, call->args[2]);
    if (member != NULL)
        give_double(call, call->reply, member->score);
}

void command_zrank(struct command_call *call)
{
    struct entry *entry;
    struct zset_member *member = NULL;

    if (arg_zset(call, &entry) && entry != NULL)
        member = zset_find(&entry->zset, call->args[2]);
    if (member != NULL)
        give_integer(call, (int64_t)zset_rank(&entry->zset, member));
}

void command_zrem(struct command_call *call)
{
    struct entry *entry;
    int64_t count = 0;

    if (!arg_zset(call, &entry))
        return;
    for (size_t i = 2; entry != NULL && i < call->arg_count; i++) {
        struct zset_member *member = zset_find(&entry->zset, call->args[i]);

        if (member != NULL) {
            zset_remove(&entry->zset, member);
            count++;
        }
    }
    if (entry != NULL)
        account_or_remove(call, entry);
    give_integer(call, count);
}

/* Ranks [first, end) of what lies within the bounds. */
static void ranks_within(const struct zset *zset, struct zset_bound min, struct zset_bound max,
                         size_t *ret_first, size_t *ret_end)
{
    *ret_first = zset_count_before_min(zset, min);
    *ret_end = zset_count_up_to_max(zset, max);
    if (*ret_end < *ret_first)
        *ret_end = *ret_first;
}

void command_zcount(struct command_call *call)
{
    struct entry *entry;
    struct zset_bound min, max;
    size_t first = 0, end = 0;

    if (!arg_bounds(call, 2, 3, &min, &max) || !arg_zset(call, &entry))
        return;
    if (entry != NULL)
        ranks_within(&entry->zset, min, max, &first, &end);
    give_integer(call, (int64_t)(end - first));
}

void command_zremrangebyscore(struct command_call *call)
{
    struct entry *entry;
    struct zset_bound min, max;
    size_t first = 0, end = 0;

    if (!arg_bounds(call, 2, 3, &min, &max) || !arg_zset(call, &entry))
        return;
    if (entry != NULL) {
        ranks_within(&entry->zset, min, max, &first, &end);
        for (size_t i = first; i < end; i++)
            zset_remove(&entry->zset, zset_at_rank(&entry->zset, first));
        account_or_remove(call, entry);
    }
    give_integer(call, (int64_t)(end - first));
}

/*
 * Ranges
 */

struct range_options {
    bool with_scores, by_score, is_reversed, has_limit;
    int64_t offset, count;
};

static bool parse_range_options(struct command_call *call, bool is_zrange,
                                struct range_options *options)
{
    for (size_t i = 4; i < call->arg_count; i++) {
        if (arg_is(call, i, "withscores")) {
            options->with_scores = true;
        } else if (arg_is(call, i, "limit") && i + 2 < call->arg_count) {
            if (!arg_integer(call, i + 1, &options->offset) ||
                !arg_integer(call, i + 2, &options->count))
                return false;
            options->has_limit = true;
            i += 2;
        } else if (is_zrange && arg_is(call, i, "byscore")) {
            options->by_score = true;
        } else if (is_zrange && arg_is(call, i, "rev")) {
            options->is_reversed = true;
        } else {
            give_error(call, "ERR syntax error");
            return false;
        }
    }
    if (!options->by_score && options->has_limit && options->count != -1) {
        give_error(call, "ERR syntax error, LIMIT is only supported in combination with either "
                         "BYSCORE or BYLEX");
        return false;
    }
    return true;
}

static void reply_ranks(struct command_call *call, const struct entry *entry,
                        const struct range_options *options, size_t first, size_t end)
{
    struct reply *element = give_array(call, (end - first) * (options->with_scores ? 2 : 1));

    for (size_t i = 0; i < end - first; i++) {
        size_t rank = options->is_reversed ? end - 1 - i : first + i;
        struct zset_member *member = zset_at_rank(&entry->zset, rank);

        give_string(element++, member->node.key);
        if (options->with_scores)
            give_double(call, element++, member->score);
    }
}

static void range_by_rank(struct command_call *call, const struct range_options *options)
{
    int64_t start, stop, count;
    struct entry *entry;

    if (!arg_integer(call, 2, &start) || !arg_integer(call, 3, &stop) || !arg_zset(call, &entry))
        return;
    count = entry != NULL ? (int64_t)zset_count(&entry->zset) : 0;
    start = start < 0 ? start + count : start;
    stop = stop < 0 ? stop + count : stop;
    start = start < 0 ? 0 : start;
    stop = stop >= count ? count - 1 : stop;
    if (start > stop || start >= count)
        (void)give_array(call, 0);
    else if (options->is_reversed)
        reply_ranks(call, entry, options, (size_t)(count - 1 - stop), (size_t)(count - start));
    else
        reply_ranks(call, entry, options, (size_t)start, (size_t)stop + 1);
}

/* Leave out offset members from the end where the range begins, and keep at most count. */
static void apply_limit(const struct range_options *options, size_t *first, size_t *end)
{
    size_t have = *end - *first, skip = have, keep;

    if (!options->has_limit)
        return;
    if (options->offset >= 0 && (uint64_t)options->offset < have)
        skip = (size_t)options->offset;
    keep = have - skip;
    if (options->count >= 0 && (uint64_t)options->count < keep)
        keep = (size_t)options->count;
    if (options->is_reversed) {
        *end -= skip;
        *first = *end - keep;
    } else {
        *first += skip;
        *end = *first + keep;
    }
}

static void range_by_score(struct command_call *call, const struct range_options *options)
{
    struct zset_bound min, max;
    size_t first = 0, end = 0, min_at = options->is_reversed ? 3 : 2;
    struct entry *entry;

    if (!arg_bounds(call, min_at, 5 - min_at, &min, &max) || !arg_zset(call, &entry))
        return;
    if (entry != NULL)
        ranks_within(&entry->zset, min, max, &first, &end);
    apply_limit(options, &first, &end);
    reply_ranks(call, entry, options, first, end);
}

void command_zrange(struct command_call *call)
{
    struct range_options options = {.count = -1};

    if (!parse_range_options(call, true, &options))
        return;
    if (options.by_score)
        range_by_score(call, &options);
    else
        range_by_rank(call, &options);
}

void command_zrangebyscore(struct command_call *call)
{
    struct range_options options = {.count = -1, .by_score = true};

    if (parse_range_options(call, false, &options))
        range_by_score(call, &options);
}
