/* Threads that come and go: each lives for a few calls, and its id may be used again. */
#include "leaker.h"
#include <pthread.h>

enum { LEAKED, CHURNED };

static struct site sites[] = {{"leaked"}, {"churned"}};

SITE void *leaked(size_t n) { return malloc(n); }
SITE void *churned(size_t n) { return malloc(n); }

#define THREADS 1009
#define AT_ONCE 7

static void *work(void *argument)
{
    (void)argument;
    for (int i = 0; i < 5; i++) {
        void *p = churned(211);
        CHECK(p != NULL);
        took(&sites[CHURNED], 211);
        free(p);
        gave(&sites[CHURNED], 211);
    }
    CHECK(leaked(103) != NULL);
    took(&sites[LEAKED], 103);
    return NULL;
}

int main(void)
{
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 128 * 1024) == 0);
    ready();
    for (int started = 0; started < THREADS;) {
        pthread_t threads[AT_ONCE];
        int n = 0;
        for (; n < AT_ONCE && started < THREADS; n++, started++)
            CHECK(pthread_create(&threads[n], &small, work, NULL) == 0);
        while (n > 0)
            CHECK(pthread_join(threads[--n], NULL) == 0);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
