/*
 * Becomes another program, with an argument: `exec AFTER`. What is marked close-on-exec is closed by that, and the rest
 * stays. The ledger is printed before, as it will be: that a descriptor is marked is all there is to know.
 */
#include "fd.h"
#include <sys/socket.h>

FD_SITE(kept, (const char *path), open(path, O_RDONLY))
FD_SITE(marked, (const char *path), open(path, O_RDONLY | O_CLOEXEC))
FD_SITE(marked_later, (const char *path), open(path, O_RDONLY))
FD_SITE(a_pair, (int type, int ends[2]), socketpair(AF_UNIX, type, 0, ends))

int main(int count, char **arguments)
{
    static const char *const path = "/proc/self/exe";
    CHECK(count == 2);
    int old_kept = open(path, O_RDONLY), old_marked = open(path, O_RDONLY | O_CLOEXEC), ends[2];
    CHECK(old_kept > 2 && old_marked > 2);
    fd_ready();
    for (int i = 0; i < 7; i++)
        opened(&at_kept, "file", kept(path));
    for (int i = 0; i < 5; i++)
        opened(&at_marked, "file", marked(path));
    for (int i = 0; i < 3; i++) {
        int fd = opened(&at_marked_later, "file", marked_later(path));
        CHECK(i == 1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
        CHECK(a_pair(i < 2 ? SOCK_STREAM : SOCK_STREAM | SOCK_CLOEXEC, ends) == 0);
        opened(&at_a_pair, "unix", ends[0]);
        opened(&at_a_pair, "unix", ends[1]);
    }
    for (int fd = 0; fd < MAX_FD; fd++)
        if (held[fd].site != NULL && fcntl(fd, F_GETFD) == FD_CLOEXEC)
            closed(fd);
    print_fd_ledger();
    /* The other program says "done". */
    execv(arguments[1], (char *const[]){arguments[1], NULL});
    fail("execv");
}
