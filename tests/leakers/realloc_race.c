/*
 * One thread moves blocks by realloc, while others take and give blocks of the old size as fast as they can. The old
 * address is free for others before realloc has returned: a tracer that forgets it only then forgets their block.
 * First with blocks from one common heap, then with mappings of their own, which mremap moves.
 */
#include "leaker.h"
#include <malloc.h>
#include <pthread.h>

enum { OLD, MOVED, CHURNED, OLD_MAPPED, MOVED_MAPPED, CHURNED_MAPPED };

static struct site sites[] = {
    {"old_block"}, {"moved"}, {"churned"}, {"old_mapped"}, {"moved_mapped"}, {"churned_mapped"},
};

SITE void *old_block(size_t n) { return malloc(n); }
SITE void *moved(void *p, size_t n) { return realloc(p, n); }
SITE void *churned(size_t n) { return malloc(n); }
SITE void *old_mapped(size_t n) { return malloc(n); }
SITE void *moved_mapped(void *p, size_t n) { return realloc(p, n); }
SITE void *churned_mapped(size_t n) { return malloc(n); }

#define CHURNERS 3
#define HELD 7

struct phase {
    int old, moved, churned;
    void *(*make)(size_t);
    void *(*move)(void *, size_t);
    void *(*churn)(size_t);
    size_t small, large;
    int rounds;
    volatile int over;
    /* The address that a realloc under way is about to leave, or has just left. */
    volatile uintptr_t leaving;
    unsigned long moves, taken;
};

static struct phase phases[] = {
    {OLD, MOVED, CHURNED, old_block, moved, churned, 1301, 2609, 20011, 0, 0, 0, 0},
    {OLD_MAPPED, MOVED_MAPPED, CHURNED_MAPPED, old_mapped, moved_mapped, churned_mapped, 70001, 140009, 2003, 0, 0, 0, 0},
};

static void *churner(void *argument)
{
    struct phase *phase = argument;
    struct block held[HELD] = {{0}};
    for (unsigned i = 0; !phase->over; i++) {
        struct block *b = &held[i % HELD];
        if (b->p) {
            gave(b->site, b->n);
            free(b->p);
        }
        *b = (struct block){phase->churn(phase->small), phase->small, &sites[phase->churned]};
        CHECK(b->p != NULL);
        if ((uintptr_t)b->p == phase->leaving)
            __atomic_fetch_add(&phase->taken, 1, __ATOMIC_RELAXED);
        took(b->site, b->n);
    }
    return NULL;
}

static void *mover(void *argument)
{
    struct phase *phase = argument;
    for (int i = 0; i < phase->rounds; i++) {
        void *p = phase->make(phase->small);
        CHECK(p != NULL);
        took(&sites[phase->old], phase->small);
        /* A wall behind it, so that it cannot grow where it is. */
        void *wall = phase->make(phase->small);
        CHECK(wall != NULL);
        took(&sites[phase->old], phase->small);
        uintptr_t before = (uintptr_t)p;
        phase->leaving = before;
        p = phase->move(p, phase->large);
        CHECK(p != NULL);
        phase->moves += before != (uintptr_t)p;
        gave(&sites[phase->old], phase->small);
        took(&sites[phase->moved], phase->large);
        gave(&sites[phase->old], phase->small);
        free(wall);
        if (i % 101) {
            gave(&sites[phase->moved], phase->large);
            free(p);
        }
    }
    phase->over = 1;
    return NULL;
}

int main(void)
{
    /* One heap for all threads, and mappings of their own from 64 KiB. */
    CHECK(mallopt(M_ARENA_MAX, 1) && mallopt(M_MMAP_THRESHOLD, 65536));
    ready();
    for (size_t i = 0; i < COUNT(phases); i++) {
        pthread_t threads[CHURNERS + 1];
        for (int t = 0; t < CHURNERS; t++)
            CHECK(pthread_create(&threads[t], NULL, churner, &phases[i]) == 0);
        CHECK(pthread_create(&threads[CHURNERS], NULL, mover, &phases[i]) == 0);
        for (int t = 0; t <= CHURNERS; t++)
            CHECK(pthread_join(threads[t], NULL) == 0);
        /* Otherwise this program tests nothing. */
        CHECK(phases[i].moves > 0 && phases[i].taken > 0);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
