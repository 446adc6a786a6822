#include "store/script.h"

#include <pthread.h>

#include "base/check.h"
#include "base/digest.h"

/* Defined in the generated scripts.c, see tests/lint/embed_scripts.awk. */
#define SCRIPT_EXTERN(id, stem)                                                                    \
    extern const char script_text_##stem[];                                                        \
    extern const size_t script_size_##stem;
SCRIPT_LIST(SCRIPT_EXTERN)

/* Written once, under pthread_once, and only read from then on. */
static struct {
    struct script script;
    char sha1_hex[41];
} scripts[SCRIPT_COUNT];
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void fill(enum script_id id, const char *name, const char *text, size_t size)
{
    struct script *script = &scripts[id].script;

    script->name = name;
    script->text = slice_from(text, size);
    digest_sha1_hex(script->text, scripts[id].sha1_hex);
    script->sha1_hex = scripts[id].sha1_hex;
}

static void fill_all(void)
{
#define SCRIPT_FILL(id, stem) fill(SCRIPT_##id, #stem, script_text_##stem, script_size_##stem);
    SCRIPT_LIST(SCRIPT_FILL)
}

const struct script *script_get(enum script_id id)
{
    CHECK(id < SCRIPT_COUNT);
    pthread_once(&scripts_once, fill_all);
    return &scripts[id].script;
}
