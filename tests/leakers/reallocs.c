/* realloc in all its ways: from nothing, to nothing, in place, moving, shrinking, failing, of another site's block. */
#include "leaker.h"
#include <errno.h>

enum { FIRST, GROW_IN_PLACE, GROW_AND_MOVE, SHRINK, FROM_NOTHING, ARRAY, MAPPED, GUARD };

static struct site sites[] = {
    {"first"}, {"grow_in_place"}, {"grow_and_move"}, {"shrink"}, {"from_nothing"}, {"array"}, {"mapped"}, {"guard"},
};

SITE void *first(size_t n) { return malloc(n); }
SITE void *guard(size_t n) { return malloc(n); }
SITE void *grow_in_place(void *p, size_t n) { return realloc(p, n); }
SITE void *grow_and_move(void *p, size_t n) { return realloc(p, n); }
SITE void *shrink(void *p, size_t n) { return realloc(p, n); }
SITE void *from_nothing(size_t n) { return realloc(NULL, n); }
SITE void *array(void *p, size_t n, size_t size) { return reallocarray(p, n, size); }
SITE void *mapped(void *p, size_t n) { return realloc(p, n); }
SITE void *to_nothing(void *p) { return realloc(p, 0); }
SITE void *too_much(void *p, size_t n) { return realloc(p, n); }
SITE void *too_many(void *p, size_t n, size_t size) { return reallocarray(p, n, size); }

/* Not known to the compiler. */
static volatile size_t huge = PTRDIFF_MAX;

static void check_bytes(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK(p[i] == (unsigned char)i);
}

static void fill(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)i;
}

static struct block make_first(size_t n)
{
    struct block b = {first(n), n, &sites[FIRST]};
    CHECK(b.p != NULL);
    took(b.site, n);
    fill(b.p, n);
    return b;
}

/* The block of b is now p, of n bytes, made by site. */
static void became(struct block *b, void *p, size_t n, int site)
{
    CHECK(p != NULL);
    check_bytes(p, b->n < n ? b->n : n);
    gave(b->site, b->n);
    took(&sites[site], n);
    *b = (struct block){p, n, &sites[site]};
    fill(p, n);
}

int main(void)
{
    unsigned long failed = 0;
    ready();
    for (int i = 0; i < 101; i++) {
        struct block b = make_first(1021);
        /* Within what the allocator rounds up to. */
        void *p = grow_in_place(b.p, 1022);
        CHECK(p == b.p);
        became(&b, p, 1022, GROW_IN_PLACE);
    }
    for (int i = 0; i < 103; i++) {
        struct block b = make_first(1031);
        void *wall = guard(37);
        CHECK(wall != NULL);
        took(&sites[GUARD], 37);
        void *old = b.p;
        void *p = grow_and_move(b.p, 20011);
        CHECK(p != old);
        became(&b, p, 20011, GROW_AND_MOVE);
    }
    for (int i = 0; i < 107; i++) {
        struct block b = make_first(4001);
        became(&b, shrink(b.p, 2003), 2003, SHRINK);
        if (i % 2) {
            gave(b.site, b.n);
            free(b.p);
        }
    }
    for (int i = 0; i < 109; i++) {
        void *p = from_nothing(613);
        CHECK(p != NULL);
        took(&sites[FROM_NOTHING], 613);
        /* glibc frees and returns NULL. */
        if (i % 2) {
            CHECK(to_nothing(p) == NULL);
            gave(&sites[FROM_NOTHING], 613);
        }
    }
    for (int i = 0; i < 113; i++) {
        struct block b = make_first(211);
        for (int step = 2; step < 7; step++)
            became(&b, array(b.p, (size_t)step, 223), (size_t)step * 223, ARRAY);
    }
    for (int i = 0; i < 31; i++) {
        /* Of their own mapping: mremap moves or grows them. */
        struct block b = make_first(200003);
        became(&b, mapped(b.p, 400009), 400009, MAPPED);
        became(&b, mapped(b.p, 1000003), 1000003, MAPPED);
        if (i % 2) {
            gave(b.site, b.n);
            free(b.p);
        }
    }
    for (int i = 0; i < 127; i++) {
        /* A failed realloc leaves the block where it is. */
        struct block b = make_first(701);
        CHECK(too_much(b.p, huge) == NULL && errno == ENOMEM);
        CHECK(too_many(b.p, huge, 3) == NULL && errno == ENOMEM);
        failed += 2;
        check_bytes(b.p, b.n);
        if (i % 3) {
            gave(b.site, b.n);
            free(b.p);
        }
    }
    print_sites(sites, COUNT(sites));
    print_stat("failed_calls", failed);
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
