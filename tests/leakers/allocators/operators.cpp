/*
 * Every signature of operator new, freed by every one of operator delete that fits; and memory that there is none of,
 * whose exceptions must go through a probed operator new unharmed. After one, deeper functions allocate: a call that ended
 * by an exception must not swallow them.
 */
#include "leaker.h"
#include <new>

enum { PLAIN, ARRAY, NOTHROW, ARRAY_NOTHROW, ALIGNED, ARRAY_ALIGNED, ALIGNED_NOTHROW, ARRAY_ALIGNED_NOTHROW, THROWN, AFTER };

static struct site sites[] = {
    {"site_plain"}, {"site_array"}, {"site_nothrow"}, {"site_array_nothrow"}, {"site_aligned"}, {"site_array_aligned"},
    {"site_aligned_nothrow"}, {"site_array_aligned_nothrow"},
    /* Where the runtime allocates exceptions; inside of an operator that throws that is not seen. */
    {"__cxa_allocate_exception", 0, 0, 0, 0, KNOWS_HISTORY},
    {"site_after"},
};

static const std::align_val_t WIDE{256};
/* Not known to the compiler. */
static volatile size_t huge = PTRDIFF_MAX - 4097;

SITE void *site_plain(size_t n) { return ::operator new(n); }
SITE void *site_array(size_t n) { return ::operator new[](n); }
SITE void *site_nothrow(size_t n) { return ::operator new(n, std::nothrow); }
SITE void *site_array_nothrow(size_t n) { return ::operator new[](n, std::nothrow); }
SITE void *site_aligned(size_t n) { return ::operator new(n, WIDE); }
SITE void *site_array_aligned(size_t n) { return ::operator new[](n, WIDE); }
SITE void *site_aligned_nothrow(size_t n) { return ::operator new(n, WIDE, std::nothrow); }
SITE void *site_array_aligned_nothrow(size_t n) { return ::operator new[](n, WIDE, std::nothrow); }
SITE void *site_after(size_t n) { return malloc(n); }
SITE void *deeper(int depth, size_t n)
{
    volatile char room[64];
    room[0] = (char)depth;
    return depth > room[0] - 1 && depth > 0 ? deeper(depth - 1, n) : site_after(n);
}
SITE bool site_thrown(int aligned)
{
    try {
        void *p = aligned ? ::operator new(huge, WIDE) : ::operator new(huge);
        CHECK(p == NULL);
    } catch (const std::bad_alloc &) {
        /* Below the frame that the exception left, where a call under way would hide it. */
        CHECK(deeper(3, 331) != NULL);
        took(&sites[AFTER], 331);
        return true;
    }
    return false;
}

/* By the signatures that belong to alignment, in turn. */
SITE void release(void *p, size_t n, bool array, bool aligned, int how)
{
    if (!array && !aligned)
        how % 3 == 0 ? ::operator delete(p) : how % 3 == 1 ? ::operator delete(p, n) : ::operator delete(p, std::nothrow);
    else if (!array)
        how % 3 == 0 ? ::operator delete(p, WIDE) : how % 3 == 1 ? ::operator delete(p, n, WIDE) : ::operator delete(p, WIDE, std::nothrow);
    else if (!aligned)
        how % 3 == 0 ? ::operator delete[](p) : how % 3 == 1 ? ::operator delete[](p, n) : ::operator delete[](p, std::nothrow);
    else
        how % 3 == 0 ? ::operator delete[](p, WIDE) : how % 3 == 1 ? ::operator delete[](p, n, WIDE) : ::operator delete[](p, WIDE, std::nothrow);
}

int main(int argc, char **)
{
    static void *(*const makers[])(size_t) = {site_plain, site_array, site_nothrow, site_array_nothrow, site_aligned,
                                              site_array_aligned, site_aligned_nothrow, site_array_aligned_nothrow};
    static const size_t sizes[] = {13, 211, 1009, 40009, 300007};
    /* The runtime's state of exceptions exists before the tracing; with an argument nothing is thrown. */
    const bool throws = argc < 2;
    if (throws) {
        try {
            throw 1;
        } catch (int) {
        }
    }
    ready();
    for (int maker = 0; maker < (int)COUNT(makers); maker++)
        for (int i = 0; i < 101 + maker; i++) {
            size_t n = sizes[(size_t)i % COUNT(sizes)];
            /* The runtime's operators round up to the alignment before they ask. */
            if (maker >= ALIGNED)
                n = (n + 255) & ~(size_t)255;
            void *p = makers[maker](n);
            CHECK(p != NULL);
            took(&sites[maker], n);
            if (i % 3 != 0)
                continue;
            release(p, n, maker % 2, maker >= ALIGNED, i / 3);
            gave(&sites[maker], n);
        }
    for (int i = 0; throws && i < 7; i++)
        CHECK(site_thrown(i % 2));
    print_sites(sites, COUNT(sites));
    if (throws)
        print_stat("failed_calls", 7);
    done();
    return 0;
}
