/*
 * Maps parts of a large file one after the other as it works through it, three at a time.
 *
 * expect: map_window = steady|churn
 */
#include "labelled.h"
#include <sys/mman.h>

SITE char *map_window(int file, size_t n, off_t at)
{
    return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, at);
}

int main(int argc, char **argv)
{
    char *windows[3] = {NULL};
    int file = memfd_create("data", 0);
    CHECK(ftruncate(file, 64 << 16) == 0);
    begin(argc, argv);
    for (unsigned i = 0;; i++) {
        tick(0.1);
        char **window = &windows[i % COUNT(windows)];
        if (*window)
            munmap(*window, 1 << 16);
        *window = map_window(file, 1 << 16, (off_t)(i % 64) << 16);
        CHECK(*window != MAP_FAILED);
        filled(*window, 4096);
    }
}
