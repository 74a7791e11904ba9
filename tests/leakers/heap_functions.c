/*
 * One site for each function of the allocator: leaks some, frees some, and a site that only frees. -DNO_VALLOC and
 * -DNO_PVALLOC leave out what not every C library and allocator has.
 */
#include "leaker.h"
#include <malloc.h>

enum { MALLOC, CALLOC, REALLOC, REALLOCARRAY, POSIX_MEMALIGN, ALIGNED_ALLOC, MEMALIGN, VALLOC, PVALLOC, FREED };

static struct site sites[] = {
    {"site_malloc"},  {"site_calloc"}, {"site_realloc"}, {"site_reallocarray"}, {"site_posix_memalign"}, {"site_aligned_alloc"},
    {"site_memalign"}, {"site_valloc"}, {"site_pvalloc"}, {"site_freed"},
};

SITE void *site_malloc(size_t n) { return malloc(n); }
SITE void *site_calloc(size_t n, size_t size) { return calloc(n, size); }
SITE void *site_realloc(void *p, size_t n) { return realloc(p, n); }
SITE void *site_reallocarray(void *p, size_t n, size_t size) { return reallocarray(p, n, size); }
SITE void *site_posix_memalign(size_t alignment, size_t n)
{
    void *p = NULL;
    CHECK(posix_memalign(&p, alignment, n) == 0);
    return p;
}
SITE void *site_aligned_alloc(size_t alignment, size_t n) { return aligned_alloc(alignment, n); }
SITE void *site_memalign(size_t alignment, size_t n) { return memalign(alignment, n); }
#ifndef NO_VALLOC
SITE void *site_valloc(size_t n) { return valloc(n); }
#endif
#ifndef NO_PVALLOC
SITE void *site_pvalloc(size_t n) { return pvalloc(n); }
#endif
SITE void *site_freed(size_t n) { return malloc(n); }
SITE void free_it(void *p) { free(p); }

/* Keeps a block in the books; every third one is freed again. */
static void book(int index, void *p, size_t n, int i)
{
    CHECK(p != NULL);
    memset(p, 0xa5, n);
    took(&sites[index], n);
    if (i % 3 == 2) {
        free_it(p);
        gave(&sites[index], n);
    }
}

int main(void)
{
    ready();
    for (int i = 0; i < 101; i++)
        book(MALLOC, site_malloc(1009), 1009, i);
    for (int i = 0; i < 103; i++)
        book(CALLOC, site_calloc(7, 151), 7 * 151, i);
    for (int i = 0; i < 107; i++) {
        /* From nothing, and on: each step frees its predecessor at the same site. */
        void *p = NULL;
        size_t last = 0;
        static const size_t steps[] = {13, 211, 5, 3001};
        for (size_t step = 0; step < COUNT(steps); step++) {
            p = site_realloc(p, steps[step]);
            CHECK(p != NULL);
            if (step > 0)
                gave(&sites[REALLOC], last);
            last = steps[step];
            if (step + 1 < COUNT(steps))
                took(&sites[REALLOC], last);
        }
        book(REALLOC, p, last, i);
    }
    for (int i = 0; i < 109; i++)
        book(REALLOCARRAY, site_reallocarray(NULL, 11, 157), 11 * 157, i);
    for (int i = 0; i < 113; i++)
        book(POSIX_MEMALIGN, site_posix_memalign(64, 1013), 1013, i);
    for (int i = 0; i < 127; i++)
        book(ALIGNED_ALLOC, site_aligned_alloc(128, 128 * 17), 128 * 17, i);
    for (int i = 0; i < 131; i++)
        book(MEMALIGN, site_memalign(256, 1019), 1019, i);
#ifndef NO_VALLOC
    for (int i = 0; i < 137; i++)
        book(VALLOC, site_valloc(1021), 1021, i);
#endif
#ifndef NO_PVALLOC
    for (int i = 0; i < 139; i++)
        book(PVALLOC, site_pvalloc(1031), 1031, i);
#endif
    for (int i = 0; i < 10007; i++) {
        void *p = site_freed(1033);
        CHECK(p != NULL);
        took(&sites[FREED], 1033);
        free_it(p);
        gave(&sites[FREED], 1033);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
