/*
 * Many descriptors: `many BEFORE AFTER LIMIT`. So many are open before the release, and so many more are opened in it,
 * under a limit of LIMIT; AFTER 0 is all that there is room for, and some calls that fail then.
 */
#include "fd.h"
#include <sys/resource.h>

FD_SITE(opened_late, (void), open("/dev/null", O_RDONLY))

int main(int count, char **arguments)
{
    CHECK(count == 4);
    int before = atoi(arguments[1]), after = atoi(arguments[2]), fd;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)atoi(arguments[3]);
    limit.rlim_max = limit.rlim_max > limit.rlim_cur ? limit.rlim_max : limit.rlim_cur;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = 0; i < before; i++)
        opened(&from_before, "device", open("/dev/null", O_RDONLY));
    fd_ready();
    for (int i = 0; i < after; i++)
        opened(&at_opened_late, "device", opened_late());
    while (after == 0 && (fd = opened_late()) != -1)
        opened(&at_opened_late, "device", fd);
    for (int i = 0; after == 0 && i < 31; i++)
        refused(&at_opened_late, EMFILE, opened_late());
    print_fd_ledger();
    done();
    return 0;
}
