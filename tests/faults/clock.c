/* The wall clock of a process, moved by as many seconds as stand in the file FAULTS_CLOCK.

   Preloaded into servers and clients (LD_PRELOAD); tests/faults/faults.py writes the file.  The
   file is mapped, so a step is seen at once.  Monotonic clocks stay as they are. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t zero;
static const volatile int64_t *moved = &zero; /* seconds */

__attribute__((constructor)) static void map_file(void)
{
    const char *path = getenv("FAULTS_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        moved = at;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *moved;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *also)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (also)
        *also = at.tv_sec;
    return at.tv_sec;
}

/* The kernel's clock has not moved: Python 3.10 waits for locks until a time of the wall clock. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static int (*original)(sem_t *, const struct timespec *);
    struct timespec at = *until;
    if (!original)
        original = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    at.tv_sec -= *moved;
    return original(semaphore, &at);
}
