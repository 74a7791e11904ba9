/*
 * A server with workers: forks them, says so, and lets them work when it is told that they are followed. With the argument
 * "exit" the workers end after that, and what they held is gone with them.
 */
#include "leaker.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { WORKERS = 3 };

static struct site sites[] = {{"worker_leak"}, {"master_leak"}};

SITE void *worker_leak(size_t n) { return malloc(n); }
SITE void *master_leak(size_t n) { return malloc(n); }

static void work(int worker, int go, int said, int ends)
{
    char c;
    CHECK(read(go, &c, 1) == 1);
    for (int i = 0; i < 101 + worker; i++) {
        void *p = worker_leak(1009);
        CHECK(p != NULL);
        if (i % 2 == 0)
            free(p);
    }
    CHECK(write(said, "x", 1) == 1);
    while (!ends)
        pause();
    _exit(0);
}

int main(int count, char **arguments)
{
    int go[2], said[2], ends = count > 1 && strcmp(arguments[1], "exit") == 0;
    char line[64];
    pid_t workers[WORKERS];
    CHECK(pipe(go) == 0 && pipe(said) == 0);
    ready();
    for (int i = 0; i < 7; i++) {
        CHECK(master_leak(1013) != NULL);
        took(&sites[1], 1013);
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        CHECK(workers[i] >= 0);
        if (workers[i] == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            work(i, go[0], said[1], ends);
        }
    }
    say("forked\n");
    hear(line, sizeof line);
    for (int i = 0; i < WORKERS; i++) {
        char c;
        CHECK(write(go[1], "g", 1) == 1 && read(said[0], &c, 1) == 1);
    }
    for (int i = 0; i < WORKERS; i++) {
        int status;
        CHECK(!ends || (waitpid(workers[i], &status, 0) == workers[i] && status == 0));
        for (int j = 0; j < 101 + i; j++) {
            took(&sites[0], 1009);
            if (ends || j % 2 == 0)
                gave(&sites[0], 1009);
        }
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
