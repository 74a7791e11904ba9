/*
 * Makes short system calls as fast as it can for as many seconds as its argument says; keeps a descriptor open now and then, at
 * an even pace, and closes others at once.
 */
#include "fd.h"

enum { EACH_MS = 3 };

FD_SITE(leaked, (void), open("/dev/null", O_RDONLY))
FD_SITE(passing, (void), open("/dev/zero", O_RDONLY))

SITE void called(unsigned long n)
{
    for (unsigned long i = 0; i < n; i++)
        syscall(SYS_getppid);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    uint64_t time = strtoul(arguments[1], NULL, 10) * 1000;
    fd_ready();
    uint64_t begun = now_ms();
    for (uint64_t last = begun, now = begun; now < begun + time; now = now_ms()) {
        called(997);
        if (now < last + EACH_MS)
            continue;
        opened(&at_leaked, "device", leaked());
        for (int i = 0; i < 7; i++)
            close_it(opened(&at_passing, "device", passing()));
        last = now;
    }
    print_fd_ledger();
    done();
    return 0;
}
