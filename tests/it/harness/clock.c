/* Moves the clock of the process that it is preloaded into (LD_PRELOAD) ahead, by as many seconds as stand, as a 64-bit number, at
 * the head of the file that CLOCK_AHEAD names. So the very binary that is shipped lives through a day in a moment, and has no door
 * for it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_AHEAD");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *shared = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED)
        ahead = shared;
}

int clock_gettime(clockid_t id, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, id, time);
    if (result == 0 && ahead && (id == CLOCK_MONOTONIC || id == CLOCK_REALTIME))
        time->tv_sec += *ahead;
    return result;
}
