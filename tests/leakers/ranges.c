/* Memory from the kernel itself: mapped, cut up, moved, resized, mapped over, and the data segment. */
#include "leaker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096ul

enum { LEAK, HOLE, ACROSS, OVER, GROWN, GROWTH, SHARED, PRIVATE_FILE, STACK, RESERVED, BREAK, LARGE };

static struct site sites[] = {
    [LEAK] = {"map_leak"},         [HOLE] = {"map_hole"},       [ACROSS] = {"map_across"},
    [OVER] = {"map_over"},         [GROWN] = {"map_grown"},     [GROWTH] = {"grow"},
    [SHARED] = {"map_shared"},     [PRIVATE_FILE] = {"map_file"}, [STACK] = {"map_stack"},
    [RESERVED] = {"map_reserved"}, [BREAK] = {"move_break"},    [LARGE] = {"allocate_large"},
};

static void *checked(void *p)
{
    CHECK(p != MAP_FAILED);
    return p;
}

static void *map(int site, void *at, size_t pages, int protection, int flags, int fd)
{
    void *p = checked(mmap(at, pages * PAGE, protection, flags, fd, 0));
    took(&sites[site], pages * PAGE);
    return p;
}

#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

SITE void *map_leak(size_t pages) { return map(LEAK, NULL, pages, RW, PRIVATE, -1); }
SITE void *map_hole(size_t pages) { return map(HOLE, NULL, pages, RW, PRIVATE, -1); }
SITE void *map_across(void *at, size_t pages) { return map(ACROSS, at, pages, RW, PRIVATE | MAP_FIXED, -1); }
SITE void *map_over(void *at, size_t pages) { return map(OVER, at, pages, RW, PRIVATE | MAP_FIXED, -1); }
SITE void *map_grown(size_t pages) { return map(GROWN, NULL, pages, RW, PRIVATE, -1); }
SITE void *map_shared(size_t pages) { return map(SHARED, NULL, pages, RW, MAP_SHARED | MAP_ANONYMOUS, -1); }
SITE void *map_file(size_t pages, int fd) { return map(PRIVATE_FILE, NULL, pages, PROT_READ, MAP_PRIVATE, fd); }
SITE void *map_stack(size_t pages) { return map(STACK, NULL, pages, RW, PRIVATE | MAP_STACK, -1); }
SITE void *map_reserved(size_t pages) { return map(RESERVED, NULL, pages, PROT_NONE, PRIVATE | MAP_NORESERVE, -1); }
SITE void *allocate_large(size_t n) { return malloc(n); }

SITE void *grow(void *old, size_t pages, size_t more)
{
    void *p = checked(mremap(old, pages * PAGE, (pages + more) * PAGE, MREMAP_MAYMOVE));
    took(&sites[GROWTH], more * PAGE);
    return p;
}

SITE void *move_break(intptr_t by)
{
    void *p = sbrk(by);
    CHECK(p != (void *)-1);
    return p;
}

/* A part of what a site mapped is gone, and it was the last one. */
static void unmap(int site, void *p, size_t pages, int last)
{
    CHECK(munmap(p, pages * PAGE) == 0);
    sites[site].free_bytes += pages * PAGE;
    sites[site].free_objects += (unsigned long)last;
}

static void lose(int site, size_t pages, int last)
{
    sites[site].free_bytes += pages * PAGE;
    sites[site].free_objects += (unsigned long)last;
}

static char *after(void *p, size_t pages) { return (char *)p + pages * PAGE; }

int main(void)
{
    ready();
    for (size_t i = 0; i < 11; i++) {
        void *p = map_leak(3);
        if (i % 3 == 0)
            unmap(LEAK, p, 3, 1);
    }
    void *hole = map_hole(13);
    unmap(HOLE, after(hole, 2), 5, 0);
    unmap(HOLE, after(hole, 3), 1, 0);
    sites[HOLE].free_bytes -= PAGE; /* It was not there any more. */

    /* One call takes the end of one mapping, all of the next, and the beginning of a third. */
    char *area = map_reserved(101);
    map_across(area, 7);
    map_across(after(area, 7), 2);
    map_across(after(area, 9), 7);
    lose(RESERVED, 16, 0);
    unmap(ACROSS, after(area, 5), 6, 1);
    map_over(after(area, 3), 11);
    lose(ACROSS, 2 + 3, 0);

    /* Grown where something is behind it, so that it moves; then shrunk into what it had at first, and less. */
    char *between = map_reserved(64);
    CHECK(munmap(between, 64 * PAGE) == 0);
    lose(RESERVED, 64, 1);
    char *grown = map_grown(17);
    grown = grow(grown, 17, 500);
    CHECK(mremap(grown, 517 * PAGE, 29 * PAGE, 0) == grown);
    lose(GROWTH, 500 - 12, 0);
    CHECK(mremap(grown, 29 * PAGE, 5 * PAGE, 0) == grown);
    lose(GROWTH, 12, 1);
    lose(GROWN, 12, 0);

    map_shared(19);
    char path[] = "/proc/self/exe";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    map_file(2, fd);
    close(fd);
    map_stack(31);

    /* The data segment is the allocator's as well: what that adds is not the program's. */
    move_break(0);
    for (int i = 0; i < 3; i++) {
        CHECK(malloc(60 << 10) != NULL);
        move_break(7 * PAGE);
        took(&sites[BREAK], 7 * PAGE);
    }
    move_break(-(intptr_t)(2 * PAGE));
    lose(BREAK, 2, 0);

    /* The allocator maps this itself. */
    for (int i = 0; i < 5; i++) {
        void *p = allocate_large(1 << 20);
        CHECK(p != NULL);
        took(&sites[LARGE], 1 << 20);
        if (i > 2) {
            free(p);
            gave(&sites[LARGE], 1 << 20);
        }
    }
    CHECK(mmap(NULL, 0, RW, PRIVATE, -1, 0) == MAP_FAILED);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
