/* A policy file.  Whatever it says: a snapshot, or at least one error; and all can be printed. */
#include <stdint.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_problems problems;
    struct policy *policy;
    FILE *out = fopen("/dev/null", "w");

    CHECK(out != NULL);
    policy_problems_init(&problems);
    policy = policy_load_text("fuzz.yaml", slice_from((const char *)data, size), &problems);
    CHECK((policy == NULL) == (problems.error_count > 0));
    for (size_t i = 0; i < problems.count; i++)
        CHECK(problems.items[i].message[0] != '\0' && problems.items[i].width > 0);
    policy_problems_print(&problems, out, true);
    if (policy != NULL) {
        struct buf shown;

        buf_init(&shown, 1 << 20);
        (void)!policy_write_effective(policy, &shown);
        buf_clear(&shown);
        policy_unref(&policy);
    }
    policy_problems_clear(&problems);
    fclose(out);
    return 0;
}
