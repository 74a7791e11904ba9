/*
 * Maps a buffer for each upload; one in four, those that are cut off, is not unmapped.
 *
 * expect: map_buffer = leaking
 * rate: map_buffer = 65536
 */
#include "labelled.h"
#include <sys/mman.h>

SITE char *map_buffer(size_t n)
{
    return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (unsigned upload = 0;; upload++) {
        tick(0.15);
        char *buffer = map_buffer(65536);
        CHECK(buffer != MAP_FAILED);
        filled(buffer, 65536);
        tick(0.1);
        if (upload % 4 != 0)
            munmap(buffer, 65536);
    }
}
