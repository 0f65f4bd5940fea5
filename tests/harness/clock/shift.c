/* Shifts the wall clock of one process, live.
 *
 * Preloaded, it adds the signed number of nanoseconds in the file named by SHIFT_CLOCK_FILE (eight bytes, in the
 * machine's order) to whatever the C library says is the time of day. The file is mapped, so a test that writes there
 * steps the clock of a running process between two of its instructions. Clocks that only measure how long something
 * takes (monotonic, boot time, CPU time) are left alone, as a step of the real wall clock leaves them alone.
 *
 * A process that was meant to be shifted and is not would make tests pass for nothing: trouble ends it with status 97.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NANO INT64_C(1000000000)

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int64_t *shift;

static void give_up(const char *why)
{
    fprintf(stderr, "shift.so: %s\n", why);
    _exit(97);
}

__attribute__((constructor)) static void prepare(void)
{
    if (shift)
        return;
    const char *path = getenv("SHIFT_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        give_up("SHIFT_CLOCK_FILE names no file that can be read");
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED)
        give_up("the file of SHIFT_CLOCK_FILE cannot be mapped");
    close(file);
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!real_clock_gettime)
        give_up("the C library has no clock_gettime");
    shift = map;
}

static int is_wall_clock(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    prepare(); /* other constructors may ask for the time before ours has run */
    int failed = real_clock_gettime(clock, now);
    if (failed || !is_wall_clock(clock))
        return failed;
    int64_t by = __atomic_load_n(shift, __ATOMIC_RELAXED);
    int64_t nanoseconds = now->tv_nsec + by % NANO;
    now->tv_sec += by / NANO;
    if (nanoseconds < 0) {
        nanoseconds += NANO;
        now->tv_sec -= 1;
    } else if (nanoseconds >= NANO) {
        nanoseconds -= NANO;
        now->tv_sec += 1;
    }
    now->tv_nsec = nanoseconds;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME_COARSE, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

int timespec_get(struct timespec *now, int base)
{
    if (base != TIME_UTC)
        return 0;
    clock_gettime(CLOCK_REALTIME, now);
    return base;
}
