/*
 * Leaks, and becomes another program, which is this one with an argument and leaks in its turn. What the first one held is
 * gone with its memory.
 */
#include "leaker.h"


static struct site sites[] = {{"before_exec"}, {"after_exec"}};

SITE void *before_exec(size_t n) { return malloc(n); }
SITE void *after_exec(size_t n) { return malloc(n); }

int main(int count, char **arguments)
{
    char *const again[] = {arguments[0], (char *)"again", NULL};
    if (count > 1) {
        for (int i = 0; i < 103; i++)
            CHECK(after_exec(1013) != NULL);
        for (int i = 0; i < 101; i++) {
            took(&sites[0], 1009);
            gave(&sites[0], 1009);
        }
        for (int i = 0; i < 103; i++)
            took(&sites[1], 1013);
        print_sites(sites, COUNT(sites));
        done();
        return 0;
    }
    ready();
    for (int i = 0; i < 101; i++)
        CHECK(before_exec(1009) != NULL);
    execv("/proc/self/exe", again);
    fail("execv");
}
