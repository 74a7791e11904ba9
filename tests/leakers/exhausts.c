/*
 * Leaks evenly until a limit that it set itself is reached: memory against RLIMIT_DATA, or descriptors against
 * RLIMIT_NOFILE, as its argument says. Then it prints how many seconds after its release that was.
 */
#include "leaker.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

/* Reached after about so many seconds. */
enum { SECONDS = 85 };
/* 64 blocks of 16 KiB a second, or 7 descriptors. */
enum { BLOCKS = 64, BYTES = 16384, DESCRIPTORS = 7 };

SITE char *leak_block(void) { return malloc(BYTES); }
SITE int leak_descriptor(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void limit(int resource, rlim_t most)
{
    struct rlimit limits = {most, most};
    CHECK(setrlimit(resource, &limits) == 0);
}

/* Bytes that count for RLIMIT_DATA. */
static rlim_t data_bytes(void)
{
    unsigned long kib = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) && sscanf(line, "VmData: %lu kB", &kib) != 1)
        ;
    fclose(status);
    return (rlim_t)kib * 1024;
}

int main(int argc, char **argv)
{
    int memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    unsigned per_s = memory ? BLOCKS : DESCRIPTORS;
    char text[64];
    if (memory)
        limit(RLIMIT_DATA, data_bytes() + (rlim_t)SECONDS * BLOCKS * BYTES);
    else
        limit(RLIMIT_NOFILE, 8 + SECONDS * DESCRIPTORS);
    ready();
    double begun = now();
    for (unsigned i = 1;; i++) {
        if (memory) {
            char *block = leak_block();
            if (!block)
                break;
            memset(block, 0x5a, BYTES);
        } else if (leak_descriptor() < 0) {
            break;
        }
        double left = begun + (double)i / per_s - now();
        if (left > 0)
            usleep((useconds_t)(left * 1e6));
    }
    snprintf(text, sizeof text, "%.3f\n", now() - begun);
    say(text);
    done();
    return 0;
}
