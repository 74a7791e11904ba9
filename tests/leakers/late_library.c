/* Loads a library after the tracing began, and leaks in it. Built with -DLIBRARY it is that library. */
#include "leaker.h"
#include <dlfcn.h>

#ifdef LIBRARY

SITE void *site_in_library(size_t n) { return malloc(n); }

#else

static struct site sites[] = {{"site_in_library"}};

int main(int count, char **arguments)
{
    CHECK(count == 2);
    ready();
    void *library = dlopen(arguments[1], RTLD_NOW);
    CHECK(library != NULL);
    void *(*site_in_library)(size_t) = (void *(*)(size_t))dlsym(library, "site_in_library");
    CHECK(site_in_library != NULL);
    for (int i = 0; i < 101; i++) {
        void *p = site_in_library(1009);
        CHECK(p != NULL);
        took(&sites[0], 1009);
        if (i % 3 == 0) {
            free(p);
            gave(&sites[0], 1009);
        }
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}

#endif
