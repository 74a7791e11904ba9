/* Leaks in the program and in a library that it has loaded before it is ready. Built with -DLIBRARY it is that library. */
#include "leaker.h"
#include <dlfcn.h>

#ifdef LIBRARY

SITE void *site_in_library(size_t n) { return malloc(n); }

#else

static struct site sites[] = {{"site_in_program"}, {"site_in_library"}};

SITE void *site_in_program(size_t n) { return malloc(n); }

static void leak(struct site *site, void *(*function)(size_t), int blocks, size_t bytes)
{
    for (int i = 0; i < blocks; i++) {
        void *p = function(bytes);
        CHECK(p != NULL);
        took(site, bytes);
        if (i % 3 == 0) {
            free(p);
            gave(site, bytes);
        }
    }
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    void *library = dlopen(arguments[1], RTLD_NOW);
    CHECK(library != NULL);
    void *(*site_in_library)(size_t) = (void *(*)(size_t))dlsym(library, "site_in_library");
    CHECK(site_in_library != NULL);
    ready();
    leak(&sites[0], site_in_program, 101, 1009);
    leak(&sites[1], site_in_library, 103, 1013);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}

#endif
