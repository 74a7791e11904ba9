/*
 * An allocator that nobody knows: it has names of its own. -DLIBRARY makes the library, -DPROGRAM the program that is
 * linked to it; with both it is one program.
 */
#include "leaker.h"
#include <sys/mman.h>

void *pool_malloc(size_t n);
void *pool_calloc(size_t n, size_t size);
void *pool_realloc(void *p, size_t n);
void pool_free(void *p);

#ifdef LIBRARY
static char *memory;
static size_t used;

struct header {
    size_t size;
    size_t unused;
};

SITE void *pool_malloc(size_t n)
{
    const size_t room = 64 << 20;
    if (memory == NULL)
        memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t whole = sizeof(struct header) + ((n + 15) & ~(size_t)15);
    if (used + whole > room)
        return NULL;
    struct header *header = (struct header *)(memory + used);
    used += whole;
    header->size = n;
    return header + 1;
}

SITE void pool_free(void *p) { (void)p; }

SITE void *pool_calloc(size_t n, size_t size) { return pool_malloc(n * size); }

SITE void *pool_realloc(void *p, size_t n)
{
    void *q = pool_malloc(n);
    if (q != NULL && p != NULL) {
        size_t old = ((struct header *)p)[-1].size;
        memcpy(q, p, old < n ? old : n);
        pool_free(p);
    }
    return q;
}
#endif

#ifdef PROGRAM
static struct site sites[] = {{"site_pool"}, {"site_calloc"}, {"site_grow"}, {"site_c"}};

SITE void *site_pool(size_t n) { return pool_malloc(n); }
SITE void *site_calloc(size_t n) { return pool_calloc(3, n); }
SITE void *site_grow(void *p, size_t n) { return pool_realloc(p, n); }
SITE void *site_c(size_t n) { return malloc(n); }

int main(void)
{
    ready();
    for (int i = 0; i < 101; i++) {
        void *p = site_pool(1009);
        CHECK(p != NULL);
        took(&sites[0], 1009);
        if (i % 3 == 0) {
            pool_free(p);
            gave(&sites[0], 1009);
        }
        CHECK(site_calloc(211) != NULL);
        took(&sites[1], 3 * 211);
        p = site_pool(13);
        took(&sites[0], 13);
        CHECK(site_grow(p, 307) != NULL);
        gave(&sites[0], 13);
        took(&sites[2], 307);
        /* The C library's is there as well. */
        CHECK((p = site_c(401)) != NULL);
        took(&sites[3], 401);
        if (i % 2) {
            free(p);
            gave(&sites[3], 401);
        }
    }
    print_sites(sites, COUNT(sites));
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
#endif
