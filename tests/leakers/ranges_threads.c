/* Threads that map and unmap, for each other too: the kernel gives addresses that one thread has just given back to the
 * next one that asks. */
#include "leaker.h"

#include <pthread.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define THREADS 8
#define ROUNDS 4001
#define SLOTS 61

static struct site sites[] = {{"map_and_pass"}};
static void *slots[SLOTS];

SITE void *map_and_pass(size_t pages)
{
    void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    took(&sites[0], pages * PAGE);
    *(size_t *)p = pages;
    return p;
}

static void *work(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument * 2654435761u + 1;
    for (int i = 0; i < ROUNDS; i++) {
        state = state * 1664525u + 1013904223u;
        void *p = map_and_pass(1 + (state >> 8) % 5);
        void *old = __atomic_exchange_n(&slots[(state >> 16) % SLOTS], p, __ATOMIC_ACQ_REL);
        if (old) {
            size_t pages = *(size_t *)old;
            CHECK(munmap(old, pages * PAGE) == 0);
            gave(&sites[0], pages * PAGE);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    ready();
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
