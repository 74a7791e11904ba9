/*
 * Samples in one array that is grown by realloc, a few at a time, and never cut. There is one block, which is replaced by a
 * larger one: that it leaks is what its author would say, that it grows is what can be seen.
 *
 * expect: grow_list = leaking|growing
 * rate: grow_list = 4800
 */
#include "labelled.h"

struct sample {
    double at, value;
    uint64_t series;
};

SITE void *grow_list(void *list, size_t n) { return realloc(list, n * sizeof(struct sample)); }

int main(int argc, char **argv)
{
    struct sample *samples = NULL;
    size_t room = 0;
    begin(argc, argv);
    for (size_t n = 0;; n++) {
        double now = tick(1.0 / 200);
        if (n == room) {
            room += 32;
            samples = grow_list(samples, room);
            CHECK(samples != NULL);
        }
        samples[n] = (struct sample){now, share(), below(10)};
    }
}
