/* tcmalloc's own names, which are the C library's functions and C++'s operators again. */
#include "leaker.h"
#include <gperftools/tcmalloc.h>

/* The header declares these for C++ alone. */
void *tc_new(size_t n);
void *tc_newarray(size_t n);
void tc_delete_sized(void *p, size_t n);
void tc_deletearray(void *p);

enum { MALLOC, CALLOC, REALLOC, MEMALIGN, NEW, NEWARRAY, NOTHROW, SKIP };

static struct site sites[] = {{"site_malloc"}, {"site_calloc"}, {"site_realloc"}, {"site_memalign"},
                              {"site_new"},    {"site_newarray"}, {"site_posix_memalign"}, {"site_skip"}};

SITE void *site_malloc(size_t n) { return tc_malloc(n); }
SITE void *site_calloc(size_t n) { return tc_calloc(3, n); }
SITE void *site_realloc(void *p, size_t n) { return tc_realloc(p, n); }
SITE void *site_memalign(size_t n) { return tc_memalign(64, n); }
SITE void *site_new(size_t n) { return tc_new(n); }
SITE void *site_newarray(size_t n) { return tc_newarray(n); }
SITE void *site_posix_memalign(size_t n)
{
    void *p = NULL;
    CHECK(tc_posix_memalign(&p, 64, n) == 0);
    return p;
}
SITE void *site_skip(size_t n) { return tc_malloc_skip_new_handler(n); }

static void book(int index, void *p, size_t n, int i)
{
    CHECK(p != NULL);
    took(&sites[index], n);
    if (i % 3 == 0) {
        i % 2 ? tc_free(p) : index == NEW ? tc_delete_sized(p, n) : index == NEWARRAY ? tc_deletearray(p) : tc_free_sized(p, n);
        gave(&sites[index], n);
    }
}

int main(void)
{
    ready();
    for (int i = 0; i < 101; i++) {
        size_t n = i % 2 ? 211 : 40009;
        book(MALLOC, site_malloc(n), n, i);
        book(CALLOC, site_calloc(n), 3 * n, 3 * i + 1);
        book(MEMALIGN, site_memalign(n), n, 3 * i + 1);
        book(NEW, site_new(n), n, i);
        book(NEWARRAY, site_newarray(n), n, i);
        book(NOTHROW, site_posix_memalign(n), n, 3 * i + 1);
        book(SKIP, site_skip(n), n, i);
        void *p = site_realloc(NULL, 307);
        took(&sites[REALLOC], 307);
        p = site_realloc(p, n);
        gave(&sites[REALLOC], 307);
        book(REALLOC, p, n, i);
    }
    print_sites(sites, COUNT(sites));
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
