/* Children allocate too, with the same code at the same addresses; their blocks are not this process's. */
#include "leaker.h"
#include <spawn.h>
#include <sys/wait.h>

enum { SHARED };

static struct site sites[] = {{"shared_code"}};

SITE void *shared_code(size_t n) { return malloc(n); }

int main(int count, char **arguments)
{
    extern char **environ;
    if (count > 1) {
        /* Spawned by another one: the same program, as a process of its own. */
        for (int i = 0; i < 307; i++)
            CHECK(shared_code(1021) != NULL);
        return 0;
    }
    ready();
    static void *early[101];
    for (size_t i = 0; i < COUNT(early); i++) {
        CHECK((early[i] = shared_code(1009)) != NULL);
        took(&sites[SHARED], 1009);
    }
    for (int i = 0; i < 7; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* These addresses are blocks of the parent, but this process's copies are what is freed. */
            for (size_t j = 0; j < COUNT(early); j++)
                free(early[j]);
            for (int j = 0; j < 211; j++)
                CHECK(shared_code(1013) != NULL);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        CHECK(shared_code(1019) != NULL);
        took(&sites[SHARED], 1019);
    }
    for (int i = 0; i < 5; i++) {
        /* By vfork: until its exec the child runs in this process's memory. */
        char *const child_arguments[] = {arguments[0], (char *)"child", NULL};
        pid_t child;
        int status;
        CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, child_arguments, environ) == 0);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
