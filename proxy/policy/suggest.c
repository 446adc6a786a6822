#include "policy/suggest.h"

#include <ctype.h>

#define MAX_WORD_BYTES 63u

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment distance, with three rows. */
static size_t edit_distance(struct slice a, struct slice b)
{
    size_t rows[3][MAX_WORD_BYTES + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];

    for (size_t j = 0; j <= b.len; j++)
        above[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *oldest = before;

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replace = above[j - 1] + !same_letter(a.at[i - 1], b.at[j - 1]);

            row[j] = min2(replace, min2(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a.at[i - 1], b.at[j - 2]) &&
                same_letter(a.at[i - 2], b.at[j - 1]))
                row[j] = min2(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = oldest;
    }
    return above[b.len];
}

struct slice suggest_word(struct slice wrong, const struct slice *words, size_t word_count)
{
    struct slice best = SLICE_NONE;
    size_t best_distance;

    if (wrong.len == 0 || wrong.len > MAX_WORD_BYTES)
        return best;
    /* A third of the letters may be wrong, but one always may. */
    best_distance = wrong.len / 3 + 1;
    if (best_distance < 2)
        best_distance = 2;
    for (size_t i = 0; i < word_count; i++) {
        size_t distance;

        if (words[i].len == 0 || words[i].len > MAX_WORD_BYTES)
            continue;
        distance = edit_distance(wrong, words[i]);
        if (distance < best_distance && distance < words[i].len) {
            best = words[i];
            best_distance = distance;
        }
    }
    return best;
}
