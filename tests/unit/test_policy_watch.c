/* Files of policies that are mounts of their own.  What is seen of changes is tested with a whole
 * process, in tests/system/test_reload.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/policy_watch.h"

static void mounts_are_known(void **state)
{
    char line[8192], point[8192];
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    unsigned found = 0;

    (void)state;
    assert_non_null(mounts);
    while (fgets(line, sizeof(line), mounts) != NULL) {
        struct stat status;

        if (sscanf(line, "%*s %*s %*s %*s %8191s", point) != 1 || strchr(point, '\\') != NULL ||
            stat(point, &status) != 0)
            continue;
        if (!policy_watch_is_mount(point))
            fail_msg("%s is a mount point", point);
        found++;
    }
    fclose(mounts);
    assert_true(found >= 2); /* at least / and /proc */
}

static void files_in_folders_are_none(void **state)
{
    char path[] = "/tmp/test_policy_watch_XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_false(policy_watch_is_mount(path));
    assert_false(policy_watch_is_mount("/proc/self/mountinfo"));
    assert_int_equal(unlink(path), 0);
    assert_false(policy_watch_is_mount(path));
    assert_false(policy_watch_is_mount("/proc/./../proc/self/../version"));
    assert_true(policy_watch_is_mount("/proc/../proc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mounts_are_known),
        cmocka_unit_test(files_in_folders_are_none),
    };

    return cmocka_run_group_tests_name("policy_watch", tests, NULL, NULL);
}
