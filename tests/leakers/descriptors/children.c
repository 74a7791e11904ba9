/* Descriptors of children are their own: what they open is not this process's, and what they close stays open here. */
#include "fd.h"
#include <spawn.h>
#include <sys/wait.h>

static const char *const FILE_PATH = "/proc/self/exe";
extern char **environ;

FD_SITE(shared_code, (const char *path), open(path, O_RDONLY))
FD_SITE(an_end, (int ends[2]), pipe(ends))

static void ended_well(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void forks(const int *early)
{
    for (int i = 0; i < 7; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int j = 0; j < 11; j++)
                CHECK(close(early[j]) == 0);
            for (int j = 0; j < 31; j++)
                CHECK(shared_code(FILE_PATH) > 2);
            CHECK(dup2(early[12], early[11]) == early[11]);
            CHECK(i % 2 || syscall(SYS_close_range, 3, ~0u, 0) == 0);
            _exit(0);
        }
        ended_well(child);
        opened(&at_shared_code, "file", shared_code(FILE_PATH));
    }
}

/* Until its exec or exit the child runs in this process's memory, with a table of its own. */
static void vforks(const int *early)
{
    for (int i = 0; i < 5; i++) {
        static volatile int mistakes;
        pid_t child = vfork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int j = 0; j < 3; j++)
                mistakes += shared_code(FILE_PATH) < 0;
            mistakes += close(early[i]) != 0;
            _exit(mistakes);
        }
        ended_well(child);
    }
}

static void spawns(char *program, const int *early)
{
    for (int i = 0; i < 5; i++) {
        char *const arguments[] = {program, (char *)"child", NULL};
        posix_spawn_file_actions_t actions;
        pid_t child;
        CHECK(posix_spawn_file_actions_init(&actions) == 0);
        CHECK(posix_spawn_file_actions_addopen(&actions, 50, FILE_PATH, O_RDONLY, 0) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, early[0], 51) == 0);
        CHECK(posix_spawn_file_actions_addclose(&actions, early[1]) == 0);
        CHECK(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ) == 0);
        CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
        ended_well(child);
    }
}

/* Its output goes through one end of a pipe, as of every program that runs another one. */
static void outputs(void)
{
    for (int i = 0; i < 3; i++) {
        int ends[2];
        char byte;
        CHECK(an_end(ends) == 0);
        opened(&at_an_end, "pipe", ends[0]);
        opened(&at_an_end, "pipe", ends[1]);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(close(ends[0]) == 0 && write(ends[1], "x", 1) == 1);
            _exit(0);
        }
        close_it(ends[1]);
        CHECK(read(ends[0], &byte, 1) == 1 && read(ends[0], &byte, 1) == 0);
        ended_well(child);
        if (i > 0)
            close_it(ends[0]);
    }
}

int main(int count, char **arguments)
{
    int early[13];
    if (count > 1) {
        for (int i = 0; i < 17; i++)
            CHECK(shared_code(FILE_PATH) > 2);
        return 0;
    }
    fd_ready();
    for (size_t i = 0; i < COUNT(early); i++)
        early[i] = opened(&at_shared_code, "file", shared_code(FILE_PATH));
    forks(early);
    vforks(early);
    spawns(arguments[0], early);
    outputs();
    print_fd_ledger();
    done();
    return 0;
}
