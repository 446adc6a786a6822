/* An input of a state-machine fuzzer: messages, a line that says where they end, and behind it a
 * script of bytes.  When the script is over it reads as zeros. */
#ifndef TESTS_FUZZ_SCRIPT_H
#define TESTS_FUZZ_SCRIPT_H

#include <stdint.h>
#include <string.h>

#include "base/slice.h"

struct fuzz_script {
    const uint8_t *at;
    size_t len;
};

static inline unsigned fuzz_byte(struct fuzz_script *script)
{
    unsigned byte = script->len > 0 ? script->at[0] : 0;

    if (script->len > 0) {
        script->at++;
        script->len--;
    }
    return byte;
}

/* Cuts the input at its last "\n--\n"; false when there is none. */
static inline bool fuzz_split(const uint8_t *data, size_t size, struct slice *ret_input,
                              struct fuzz_script *ret_script)
{
    for (size_t i = size; i >= 4; i--) {
        if (memcmp(data + i - 4, "\n--\n", 4) != 0)
            continue;
        *ret_input = slice_from((const char *)data, i - 4);
        *ret_script = (struct fuzz_script){data + i, size - i};
        return true;
    }
    return false;
}

#endif
