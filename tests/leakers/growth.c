/*
 * Grows by known numbers of pages at three sites, and touches the same pages again and again at a fourth, in small steps
 * that take turns. Page by page, so that the pages it touches first are what it says, whatever an allocator does.
 */
#include "leaker.h"

#include <sys/mman.h>

#define PAGE 4096ul
/* Small blocks of a round: they fill this many pages, about. */
#define BLOCKS 509ul
#define BLOCK 1009ul

enum { SMALL, LARGE, MAPPED, AGAIN };

static struct site sites[] = {
    [SMALL] = {"grow_small"}, [LARGE] = {"grow_large"}, [MAPPED] = {"grow_mapped"}, [AGAIN] = {"touch_again"},
};

/* Writes to each page: what is never read must not be left out. */
static void touch(volatile char *p, size_t n)
{
    for (size_t i = 0; i < n; i += PAGE)
        p[i] = 1;
    p[n - 1] = 1;
}

SITE void grow_small(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        char *p = malloc(BLOCK);
        CHECK(p != NULL);
        touch(p, BLOCK);
    }
    sites[SMALL].alloc_bytes += BLOCKS * (BLOCK + 15 & ~15ul);
}

SITE void grow_large(size_t pages)
{
    char *p = malloc(pages * PAGE);
    CHECK(p != NULL);
    touch(p, pages * PAGE);
    sites[LARGE].alloc_bytes += pages * PAGE;
}

SITE void grow_mapped(size_t pages)
{
    char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    touch(p, pages * PAGE);
    sites[MAPPED].alloc_bytes += pages * PAGE;
}

/* The pages are given back each time. */
SITE void touch_again(char *p, size_t pages)
{
    touch(p, pages * PAGE);
    CHECK(madvise(p, pages * PAGE, MADV_DONTNEED) == 0);
    sites[AGAIN].alloc_bytes += pages * PAGE;
    sites[AGAIN].free_bytes += pages * PAGE;
}

/* Touched once, before the work: nothing of it faults again. */
SITE void use(char *p, size_t pages) { touch(p, pages * PAGE); }

int main(void)
{
    char *pool = mmap(NULL, 311 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *again = mmap(NULL, 31 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pool != MAP_FAILED && again != MAP_FAILED);
    use(pool, 311);
    ready();
    for (size_t round = 0; round < 307; round++) {
        grow_small();
        grow_large(61);
        grow_mapped(29);
        touch_again(again, 31);
        use(pool, 311);
        /* It takes some seconds, as growth does. */
        usleep(13000);
    }
    for (size_t i = 0; i < COUNT(sites); i++)
        print_site(&sites[i]);
    done();
    return 0;
}
