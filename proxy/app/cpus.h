/* How many CPUs this process may use. */
#ifndef APP_CPUS_H
#define APP_CPUS_H

/* The smaller of the affinity mask and the cgroup's quota (v2 cpu.max or v1 cpu.cfs_quota_us,
 * rounded up); at least 1. */
unsigned cpus_allowed(void);

/* The cgroup part by itself: a quota and period in microseconds give a count of CPUs; 0 = no limit.
 */
unsigned cpus_from_quota(long long quota_us, long long period_us);

#endif
