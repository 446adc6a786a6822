/* LD_PRELOAD: shifts the process's own idea of wall time by CLOCK_SHIFT_MS, which no decision may
 * depend on.  Monotonic clocks are left alone: a skewed host has right intervals and a wrong date.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#define NS_PER_S 1000000000L

static long long shift_ns(void)
{
    const char *text = getenv("CLOCK_SHIFT_MS");

    return text == NULL ? 0 : atoll(text) * 1000000;
}

static void shift_timespec(struct timespec *time)
{
    long long ns = time->tv_nsec + shift_ns() % NS_PER_S;

    time->tv_sec += (time_t)(shift_ns() / NS_PER_S);
    if (ns < 0) {
        ns += NS_PER_S;
        time->tv_sec--;
    } else if (ns >= NS_PER_S) {
        ns -= NS_PER_S;
        time->tv_sec++;
    }
    time->tv_nsec = (long)ns;
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    static int (*next)(clockid_t, struct timespec *);
    int status;

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
    status = next(clock, ret_time);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        shift_timespec(ret_time);
    return status;
}

int gettimeofday(struct timeval *restrict ret_time, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    ret_time->tv_sec = now.tv_sec;
    ret_time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *ret_time)
{
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t)-1;
    if (ret_time != NULL)
        *ret_time = now.tv_sec;
    return now.tv_sec;
}
