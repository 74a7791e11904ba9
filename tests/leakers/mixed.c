/*
 * One call site whose blocks are mostly freed at once, 10,000 a second, while one in fifty stays. Evenly, for so many
 * seconds.
 */
#include "leaker.h"
#include <time.h>

enum { PER_SECOND = 10000, KEPT = 50, BYTES = 112 };

static struct site sites[] = {{"entry"}};

SITE void *entry(size_t n) { return malloc(n); }

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    double seconds = strtod(arguments[1], NULL);
    struct timespec pause = {0, 1000000};
    unsigned long i = 0;
    ready();
    for (double begun = now(), passed = 0; passed < seconds; passed = now() - begun) {
        for (unsigned long due = passed * PER_SECOND; i < due; i++) {
            void *block = entry(BYTES);
            CHECK(block != NULL);
            took(&sites[0], BYTES);
            if (i % KEPT) {
                free(block);
                gave(&sites[0], BYTES);
            }
        }
        nanosleep(&pause, NULL);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
