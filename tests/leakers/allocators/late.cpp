/*
 * Loads an allocator once it is told to: `late LIBRARY PREFIX`. Its functions are found by their names, which begin with
 * PREFIX; its operator new, if it has one, is made to throw, unless there is a third argument.
 */
#include "leaker.h"
#include <dlfcn.h>
#include <new>

enum { MALLOC, CALLOC, REALLOC, NEW, AFTER, THROWN };

static struct site sites[] = {
    {"site_malloc"}, {"site_calloc"}, {"site_realloc"}, {"site_new"}, {"site_after"},
    /* Where the C++ runtime allocates exceptions. */
    {"__cxa_allocate_exception", 0, 0, 0, 0, KNOWS_HISTORY},
};

static void *(*late_malloc)(size_t);
static void *(*late_calloc)(size_t, size_t);
static void *(*late_realloc)(void *, size_t);
static void (*late_free)(void *);
static void *(*late_new)(size_t);
static void (*late_delete)(void *);

SITE void *site_malloc(size_t n) { return late_malloc(n); }
SITE void *site_calloc(size_t n) { return late_calloc(3, n); }
SITE void *site_realloc(void *p, size_t n) { return late_realloc(p, n); }
SITE void *site_new(size_t n) { return late_new(n); }
SITE void *site_after(size_t n) { return malloc(n); }
SITE void *deeper(int depth, size_t n)
{
    volatile char room[64];
    room[0] = (char)depth;
    return depth > room[0] - 1 && depth > 0 ? deeper(depth - 1, n) : site_after(n);
}

SITE bool throws(void)
{
    static volatile size_t huge = PTRDIFF_MAX - 4097;
    try {
        void *p = late_new(huge);
        CHECK(p == NULL);
    } catch (const std::bad_alloc &) {
        CHECK(deeper(3, 331) != NULL);
        took(&sites[AFTER], 331);
        return true;
    }
    return false;
}

template <typename Function> static void find(void *library, const char *prefix, const char *name, Function &function)
{
    char symbol[64];
    snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
    function = reinterpret_cast<Function>(dlsym(library, symbol));
}

static void leak(int count)
{
    for (int i = 0; i < count; i++) {
        void *p = site_malloc(1009);
        CHECK(p != NULL);
        took(&sites[MALLOC], 1009);
        if (i % 3 == 0) {
            late_free(p);
            gave(&sites[MALLOC], 1009);
        }
        CHECK(site_calloc(211) != NULL);
        took(&sites[CALLOC], 3 * 211);
        CHECK((p = site_malloc(13)) != NULL && site_realloc(p, 307) != NULL);
        took(&sites[MALLOC], 13);
        gave(&sites[MALLOC], 13);
        took(&sites[REALLOC], 307);
        if (late_new == NULL)
            continue;
        CHECK((p = site_new(401)) != NULL);
        took(&sites[NEW], 401);
        if (i % 2) {
            late_delete(p);
            gave(&sites[NEW], 401);
        }
    }
}

int main(int count, char **arguments)
{
    char line[64];
    CHECK(count >= 3);
    /* The runtime's state of exceptions exists before the tracing. */
    try {
        throw 1;
    } catch (int) {
    }
    ready();
    /* Its own calls of malloc and free are to be its own: the program has others. */
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == NULL)
        fail(dlerror());
    find(library, arguments[2], "malloc", late_malloc);
    find(library, arguments[2], "calloc", late_calloc);
    find(library, arguments[2], "realloc", late_realloc);
    find(library, arguments[2], "free", late_free);
    CHECK(late_malloc && late_calloc && late_realloc && late_free);
    find(library, "", "_Znwm", late_new);
    find(library, "", "_ZdlPv", late_delete);
    say("loaded\n");
    hear(line, sizeof line);
    leak(101);
    for (int i = 0; late_new != NULL && count == 3 && i < 7; i++)
        CHECK(throws());
    print_sites(sites, COUNT(sites));
    if (late_new != NULL && count == 3)
        print_stat("failed_calls", 7);
    done();
    return 0;
}
