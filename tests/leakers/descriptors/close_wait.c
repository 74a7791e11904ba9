/*
 * A server that never closes: `close_wait CLIENTS LEAVERS`. Its clients are another process; the first so many hang up,
 * the others stay.
 */
#include "fd.h"
#include <signal.h>
#include <sys/prctl.h>

FD_SITE(a_listener, (void), socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
FD_SITE(accept_client, (int fd), accept4(fd, NULL, NULL, SOCK_CLOEXEC))

static void clients(int listener, const struct sockaddr_in *address, int count, int leavers)
{
    int fds[256];
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && close(listener) == 0);
    for (int i = 0; i < count; i++) {
        char byte;
        CHECK((fds[i] = socket(AF_INET, SOCK_STREAM, 0)) != -1);
        CHECK(connect(fds[i], (const struct sockaddr *)address, sizeof *address) == 0);
        /* One after the other, so that the server knows who is who. */
        CHECK(read(fds[i], &byte, 1) == 1);
    }
    for (int i = 0; i < leavers; i++)
        CHECK(close(fds[i]) == 0);
    for (;;)
        pause();
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    int clients_count = atoi(arguments[1]), leavers = atoi(arguments[2]), fds[256];
    char line[LINE_BYTES], byte;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CHECK(clients_count <= 256);
    fd_ready();
    int listener = opened(&at_a_listener, "tcp", a_listener());
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 61) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        clients(listener, &address, clients_count, leavers);
    for (int i = 0; i < clients_count; i++) {
        fds[i] = opened(&at_accept_client, "tcp", accept_client(listener));
        CHECK(write(fds[i], "x", 1) == 1);
    }
    /* The end of what a client sends is that it hung up: from here the kernel has the connection in CLOSE_WAIT. */
    for (int i = 0; i < leavers; i++)
        CHECK(read(fds[i], &byte, 1) == 0);
    snprintf(line, sizeof line, "{\"port\":%d}\n", ntohs(address.sin_port));
    say(line);
    print_fd_ledger();
    done();
    CHECK(kill(child, SIGKILL) == 0);
    return 0;
}
