#include "app/process_metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct process_facts {
    unsigned long long cpu_ticks, started_ticks, virtual_bytes, resident_pages;
};

/* Fields 14, 15, 22, 23 and 24 of /proc/self/stat (proc(5)); the name in field 2 may hold anything,
 * so counting begins after its last parenthesis. */
static bool read_stat(struct process_facts *facts)
{
    char text[1024], *after_name;
    unsigned long long user, system;
    FILE *file = fopen("/proc/self/stat", "re");
    size_t len;

    if (file == NULL)
        return false;
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    after_name = strrchr(text, ')');
    if (after_name == NULL || sscanf(after_name + 2,
                                     "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d "
                                     "%*d %*d %*d %*d %*d %llu %llu %llu",
                                     &user, &system, &facts->started_ticks, &facts->virtual_bytes,
                                     &facts->resident_pages) != 5)
        return false;
    facts->cpu_ticks = user + system;
    return true;
}

static double boot_time_s(void)
{
    struct timespec wall, boot;

    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9;
}

static unsigned count_open_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    if (directory == NULL)
        return 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static bool gauge(struct buf *out, const char *name, const char *help, double value)
{
    return buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %.15g\n", name, help, name, name,
                      value);
}

bool process_metrics_text(enum metrics_format format, struct buf *out)
{
    struct process_facts facts;
    struct rlimit fds = {0};
    double ticks = (double)sysconf(_SC_CLK_TCK);
    const char *cpu_family =
        format == METRICS_OPENMETRICS ? "process_cpu_seconds" : "process_cpu_seconds_total";

    if (!read_stat(&facts))
        return true;
    getrlimit(RLIMIT_NOFILE, &fds);
    return buf_printf(out,
                      "# HELP %s User and system CPU time spent.\n# TYPE %s counter\n"
                      "process_cpu_seconds_total %.2f\n",
                      cpu_family, cpu_family, (double)facts.cpu_ticks / ticks) &&
           gauge(out, "process_start_time_seconds", "When the process started, since the epoch.",
                 boot_time_s() + (double)facts.started_ticks / ticks) &&
           gauge(out, "process_resident_memory_bytes", "Resident memory.",
                 (double)facts.resident_pages * (double)sysconf(_SC_PAGESIZE)) &&
           gauge(out, "process_virtual_memory_bytes", "Virtual memory.",
                 (double)facts.virtual_bytes) &&
           gauge(out, "process_open_fds", "Open file descriptors.", count_open_fds()) &&
           gauge(out, "process_max_fds", "Most file descriptors that may be open.",
                 (double)fds.rlim_cur);
}
