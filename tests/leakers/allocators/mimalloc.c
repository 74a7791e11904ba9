/* mimalloc's own functions, one site for each shape of arguments; every one of them by its own line below. */
#include "leaker.h"
#include <mimalloc.h>

#define FUNCTIONS(X)                                                                                                   \
    X(malloc, mi_malloc(n), n)                                                                                         \
    X(zalloc, mi_zalloc(n), n)                                                                                         \
    X(malloc_small, mi_malloc_small(n % 509), n % 509)                                                                 \
    X(zalloc_small, mi_zalloc_small(n % 509), n % 509)                                                                 \
    X(calloc, mi_calloc(7, n), 7 * n)                                                                                  \
    X(mallocn, mi_mallocn(5, n), 5 * n)                                                                                \
    X(malloc_aligned, mi_malloc_aligned(n, 128), n)                                                                    \
    X(malloc_aligned_at, mi_malloc_aligned_at(n, 64, 8), n)                                                            \
    X(zalloc_aligned, mi_zalloc_aligned(n, 256), n)                                                                    \
    X(calloc_aligned, mi_calloc_aligned(3, n, 64), 3 * n)                                                              \
    X(realloc, mi_realloc(NULL, n), n)                                                                                 \
    X(rezalloc, mi_rezalloc(NULL, n), n)                                                                               \
    X(reallocf, mi_reallocf(NULL, n), n)                                                                               \
    X(reallocn, mi_reallocn(NULL, 3, n), 3 * n)                                                                        \
    X(recalloc, mi_recalloc(NULL, 3, n), 3 * n)                                                                        \
    X(realloc_aligned, mi_realloc_aligned(NULL, n, 64), n)                                                             \
    X(reallocarray, mi_reallocarray(NULL, 5, n), 5 * n)                                                                \
    X(memalign, mi_memalign(64, n), n)                                                                                 \
    X(aligned_alloc, mi_aligned_alloc(64, 64 * n), 64 * n)                                                             \
    X(valloc, mi_valloc(n), n)                                                                                         \
    X(pvalloc, mi_pvalloc(n), n)                                                                                       \
    X(new, mi_new(n), n)                                                                                               \
    X(new_n, mi_new_n(3, n), 3 * n)                                                                                    \
    X(new_aligned, mi_new_aligned(n, 64), n)                                                                           \
    X(new_nothrow, mi_new_nothrow(n), n)                                                                               \
    X(new_aligned_nothrow, mi_new_aligned_nothrow(n, 64), n)                                                           \
    X(heap_malloc, mi_heap_malloc(heap, n), n)                                                                         \
    X(heap_zalloc, mi_heap_zalloc(heap, n), n)                                                                         \
    X(heap_malloc_small, mi_heap_malloc_small(heap, n % 509), n % 509)                                                 \
    X(heap_calloc, mi_heap_calloc(heap, 3, n), 3 * n)                                                                  \
    X(heap_mallocn, mi_heap_mallocn(heap, 3, n), 3 * n)                                                                \
    X(heap_malloc_aligned, mi_heap_malloc_aligned(heap, n, 64), n)                                                     \
    X(heap_zalloc_aligned, mi_heap_zalloc_aligned(heap, n, 64), n)                                                     \
    X(heap_calloc_aligned, mi_heap_calloc_aligned(heap, 3, n, 64), 3 * n)                                              \
    X(heap_realloc, mi_heap_realloc(heap, NULL, n), n)                                                                 \
    X(heap_reallocn, mi_heap_reallocn(heap, NULL, 3, n), 3 * n)                                                        \
    X(heap_reallocf, mi_heap_reallocf(heap, NULL, n), n)                                                               \
    X(heap_recalloc, mi_heap_recalloc(heap, NULL, 3, n), 3 * n)                                                        \
    X(grow, mi_realloc(mi_malloc(11), n), n)                                                                           \
    X(heap_grow, mi_heap_realloc(heap, mi_heap_malloc(heap, 13), n), n)                                                \
    X(new_grow, mi_new_realloc(mi_malloc(17), n), n)

#define NAME(function, call, size) {"site_" #function},
static struct site sites[] = {FUNCTIONS(NAME)};

static mi_heap_t *heap;

#define SITE_OF(function, call, size)                                                                                  \
    SITE void *site_##function(size_t n)                                                                               \
    {                                                                                                                  \
        return call;                                                                                                   \
    }
FUNCTIONS(SITE_OF)

/* By each of its functions in turn. */
SITE void release(void *p, size_t n, int how)
{
    switch (how % 4) {
    case 0:
        mi_free(p);
        break;
    case 1:
        mi_free_size(p, n);
        break;
    case 2:
        mi_free_size_aligned(p, n, 8);
        break;
    default:
        mi_free_aligned(p, 8);
    }
}

int main(void)
{
    /* The thread's heaps exist before the tracing. */
    mi_free(mi_malloc(1));
    heap = mi_heap_new();
    CHECK(heap != NULL);
    ready();
    int index = 0;
#define CALL(function, call, bytes)                                                                                    \
    for (int i = 0; i < 31; i++) {                                                                                     \
        size_t n = i % 2 ? 211 : 5003;                                                                                 \
        size_t size = bytes;                                                                                           \
        void *p = site_##function(n);                                                                                  \
        CHECK(p != NULL);                                                                                              \
        size_t first = strcmp(#function, "grow") == 0 ? 11                                                             \
                       : strcmp(#function, "heap_grow") == 0 ? 13                                                      \
                       : strcmp(#function, "new_grow") == 0 ? 17 : 0;                                                  \
        if (first) {                                                                                                   \
            took(&sites[index], first);                                                                                \
            gave(&sites[index], first);                                                                                \
        }                                                                                                              \
        took(&sites[index], size);                                                                                     \
        if (i % 3 == 0) {                                                                                              \
            release(p, size, i);                                                                                       \
            gave(&sites[index], size);                                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    index++;
    FUNCTIONS(CALL)
    print_sites(sites, COUNT(sites));
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
