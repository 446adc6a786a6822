#include "app/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

unsigned cpus_from_quota(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    return (unsigned)((quota_us + period_us - 1) / period_us);
}

static bool read_numbers(const char *path, const char *format, long long *first, long long *second)
{
    FILE *file = fopen(path, "re");
    int count;

    if (file == NULL)
        return false;
    count = second != NULL ? fscanf(file, format, first, second) : fscanf(file, format, first);
    fclose(file);
    return count == (second != NULL ? 2 : 1);
}

/* Where the process stands in the hierarchy: "0::/path" (v2). */
static void own_cgroup(char *path, size_t size)
{
    char line[PATH_MAX];
    FILE *file = fopen("/proc/self/cgroup", "re");

    path[0] = '\0';
    if (file == NULL)
        return;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, size, "%s", line + 3);
    }
    fclose(file);
}

/* A quota may be set on any ancestor, so the smallest on the way up counts. */
static unsigned quota_v2(void)
{
    char cgroup[PATH_MAX], path[PATH_MAX + 64];
    unsigned smallest = 0;

    own_cgroup(cgroup, sizeof(cgroup));
    for (;;) {
        long long quota, period;
        char *slash;

        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", cgroup);
        if (read_numbers(path, "%lld %lld", &quota, &period)) {
            unsigned count = cpus_from_quota(quota, period);

            if (count > 0 && (smallest == 0 || count < smallest))
                smallest = count;
        }
        slash = strrchr(cgroup, '/');
        if (slash == NULL)
            return smallest;
        *slash = '\0';
    }
}

static unsigned quota_v1(void)
{
    long long quota, period;

    if (!read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lld", &quota, NULL) ||
        !read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lld", &period, NULL))
        return 0;
    return cpus_from_quota(quota, period);
}

unsigned cpus_allowed(void)
{
    cpu_set_t set;
    unsigned count = 1, quota = quota_v2();

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = (unsigned)CPU_COUNT(&set);
    if (quota == 0)
        quota = quota_v1();
    if (quota > 0 && quota < count)
        count = quota;
    return count > 0 ? count : 1;
}
