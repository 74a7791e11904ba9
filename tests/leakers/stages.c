/*
 * Becomes one program after the other, and leaks in each: `stages WAY...` goes on by each way in turn. WAY is exec, thread
 * (exec by a thread that is not the main one), fork, vfork or spawn (a child that execs); with `=PATH` what is run is that
 * program instead of this one.
 *
 * Each stage but the first says "stage NUMBER PID" and waits for a line before it leaks. The last one prints the ledger of
 * all; whoever has a child waits for it, and still has its own blocks then. What a program held that is replaced is gone.
 */
#include "leaker.h"
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

extern char **environ;

#define STAGES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define FUNCTION(n)                                                                                                    \
    SITE void *stage_##n(size_t bytes) { return malloc(bytes); }
#define FUNCTION_NAME(n) stage_##n,
#define SITE_NAME(n) {"stage_" #n},

STAGES(FUNCTION)
static void *(*const functions[])(size_t) = {STAGES(FUNCTION_NAME)};
static struct site sites[] = {STAGES(SITE_NAME)};

static size_t bytes_of(int stage) { return 1009 + 8 * (size_t)stage; }
static int blocks_of(int stage) { return 101 + 2 * stage; }
static int is_given_back(int block) { return block % 3 == 0; }

static void leak(int stage)
{
    for (int i = 0; i < blocks_of(stage); i++) {
        void *p = functions[stage](bytes_of(stage));
        CHECK(p != NULL);
        if (is_given_back(i))
            free(p);
    }
}

static int is_way(const char *way, const char *name)
{
    size_t n = strlen(name);
    return strncmp(way, name, n) == 0 && (way[n] == 0 || way[n] == '=');
}

static void print_ledger(int last, char **ways)
{
    for (int stage = 0; stage <= last; stage++) {
        int replaced = stage < last && (is_way(ways[stage], "exec") || is_way(ways[stage], "thread"));
        for (int i = 0; i < blocks_of(stage); i++) {
            took(&sites[stage], bytes_of(stage));
            if (replaced || is_given_back(i))
                gave(&sites[stage], bytes_of(stage));
        }
        print_site(&sites[stage]);
    }
}

static const char *program;
static char **next_arguments;

static void *become(void *unused)
{
    execv(program, next_arguments);
    (void)unused;
    _exit(7);
}

static void wait_for_child(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void go_on(const char *way)
{
    const char *path = strchr(way, '=');
    program = path ? path + 1 : "/proc/self/exe";
    if (is_way(way, "exec")) {
        become(NULL);
    } else if (is_way(way, "thread")) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, become, NULL) == 0);
        for (;;)
            pause();
    } else if (is_way(way, "fork")) {
        pid_t child = fork();
        if (child == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            become(NULL);
        }
        wait_for_child(child);
    } else if (is_way(way, "vfork")) {
        pid_t child = vfork();
        if (child == 0) {
            execv(program, next_arguments);
            _exit(7);
        }
        wait_for_child(child);
    } else if (is_way(way, "spawn")) {
        pid_t child;
        CHECK(posix_spawn(&child, program, NULL, NULL, next_arguments, environ) == 0);
        wait_for_child(child);
    } else {
        fail(way);
    }
}

int main(int count, char **arguments)
{
    /* The number comes first where another stage has run this one. */
    static char number[2];
    static char *again[16];
    char line[64];
    int stage = 0, first = 1, last;
    if (count > 1 && arguments[1][0] >= '0' && arguments[1][0] <= '9') {
        stage = arguments[1][0] - '0';
        first = 2;
    }
    last = count - first;
    CHECK(last < (int)COUNT(functions) && count + 2 < (int)COUNT(again));
    if (stage == 0) {
        ready();
    } else {
        snprintf(line, sizeof line, "stage %d %d\n", stage, getpid());
        say(line);
        hear(line, sizeof line);
    }
    leak(stage);
    if (stage == last) {
        print_ledger(last, arguments + first);
        done();
        return 0;
    }
    number[0] = (char)('1' + stage);
    again[0] = arguments[0];
    again[1] = number;
    for (int i = first; i < count; i++)
        again[2 + i - first] = arguments[i];
    next_arguments = again;
    go_on(arguments[first + stage]);
    return 0;
}
