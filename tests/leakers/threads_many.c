/* Many threads at once, each with a prime number of its own. */
#include "leaker.h"
#include <pthread.h>

enum { LEAKED, CHURNED };

static struct site sites[] = {{"leaked"}, {"churned"}};

SITE void *leaked(size_t n) { return malloc(n); }
SITE void *churned(size_t n) { return malloc(n); }

#define THREADS 211

static pthread_barrier_t all_there;

static int is_prime(int n)
{
    for (int d = 2; d * d <= n; d++)
        if (n % d == 0)
            return 0;
    return 1;
}

static void *work(void *argument)
{
    int count = (int)(intptr_t)argument;
    pthread_barrier_wait(&all_there);
    for (int i = 0; i < count; i++) {
        size_t n = 11 + (size_t)(i % 7) * 97;
        void *p = churned(n);
        CHECK(p != NULL);
        took(&sites[CHURNED], n);
        if (i % 3 == 0) {
            CHECK(leaked(101) != NULL);
            took(&sites[LEAKED], 101);
        }
        free(p);
        gave(&sites[CHURNED], n);
    }
    return NULL;
}

int main(void)
{
    static pthread_t threads[THREADS];
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 128 * 1024) == 0);
    CHECK(pthread_barrier_init(&all_there, NULL, THREADS) == 0);
    ready();
    int prime = 101;
    for (int i = 0; i < THREADS; i++, prime++) {
        while (!is_prime(prime))
            prime++;
        CHECK(pthread_create(&threads[i], &small, work, (void *)(intptr_t)prime) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
