/* "Did you mean": the known word nearest to a misspelt one. */
#ifndef POLICY_SUGGEST_H
#define POLICY_SUGGEST_H

#include "base/slice.h"

/* The nearest of words by edits (insert, delete, replace, swap neighbours; case ignored), or
 * at == NULL when none is near enough to be what was meant. */
struct slice suggest_word(struct slice wrong, const struct slice *words, size_t word_count);

#endif
