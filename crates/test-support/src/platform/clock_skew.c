/* Preloaded, it gives a program a time of day that is off by SKEW_SECONDS. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    const char *skew = getenv("SKEW_SECONDS");
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && skew && clock == CLOCK_REALTIME)
        time->tv_sec += atol(skew);
    return failed;
}
