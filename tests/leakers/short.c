/*
 * A program that is over in a moment, and leaks what its argument makes it leak. With THREADS some of it is done by threads.
 * Valid as C and as C++, where a global object allocates before main.
 */
#include "leaker.h"

#include <pthread.h>
#ifdef __cplusplus
#include <iostream>
#endif

#define SITES 5
#define MOST 64

static struct site sites[] = {{"leak_none"}, {"leak_some"}, {"leak_most"}, {"leak_grown"}, {"leak_zeroed"}, {"before_main"}};

struct random {
    unsigned long state;
};

static unsigned long draw(struct random *random, unsigned long below)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (random->state >> 33) % below;
}

SITE static void *leak_none(size_t n) { return malloc(n); }
SITE static void *leak_some(size_t n) { return malloc(n); }
SITE static void *leak_most(size_t n) { return malloc(n); }
SITE static void *leak_grown(void *old, size_t n) { return realloc(old, n); }
SITE static void *leak_zeroed(size_t n) { return calloc(n, 1); }

static void *make(unsigned long site, size_t n)
{
    void *p = NULL;
    switch (site) {
    case 0: p = leak_none(n); break;
    case 1: p = leak_some(n); break;
    case 2: p = leak_most(n); break;
    case 3: p = leak_grown(NULL, n); break;
    default: p = leak_zeroed(n); break;
    }
    CHECK(p != NULL);
    took(&sites[site], n);
    return p;
}

static void *work(void *argument)
{
    struct random random = {(unsigned long)(uintptr_t)argument};
    unsigned long times = 1 + draw(&random, MOST);
    for (unsigned long i = 0; i < times; i++) {
        unsigned long site = draw(&random, SITES);
        size_t n = 1 + draw(&random, 4001);
        void *p = make(site, n);
        if (site == 3) {
            size_t more = n + 1 + draw(&random, 997);
            p = leak_grown(p, more);
            CHECK(p != NULL);
            gave(&sites[3], n);
            took(&sites[3], more);
            n = more;
        }
        /* Of ten: all, seven, one, half, half. */
        static const unsigned long freed[] = {10, 7, 1, 5, 5};
        if (draw(&random, 10) < freed[site]) {
            free(p);
            gave(&sites[site], n);
        }
    }
    return NULL;
}

#ifdef __cplusplus
struct early {
    void *p;
    early() : p(before_main(997)) { took(&sites[5], 997); }
    SITE static void *before_main(size_t n) { return malloc(n); }
};
static early global;
#endif

int main(int count, char **arguments)
{
    CHECK(count == 2);
    unsigned long seed = strtoul(arguments[1], NULL, 10);
    work((void *)(uintptr_t)(seed * 2 + 1));
#ifdef THREADS
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(seed * 7 + i)) == 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
#endif
#ifdef __cplusplus
    std::cout.flush(); /* So that the runtime library is linked. */
#endif
    print_sites(sites, COUNT(sites));
    return (int)(seed % 100);
}
