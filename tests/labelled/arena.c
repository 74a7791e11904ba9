/*
 * A region for each request, in chunks, released as a whole when the request is done.
 *
 * expect: new_chunk = churn|steady
 */
#include "labelled.h"

struct chunk {
    struct chunk *before;
    char room[16000];
};

SITE struct chunk *new_chunk(void) { return malloc(sizeof(struct chunk)); }

int main(int argc, char **argv)
{
    static struct { struct chunk *last; double until; } requests[16];
    begin(argc, argv);
    for (unsigned request = 0;; request++) {
        double now = tick(1.0 / 50);
        for (size_t i = 0; i < COUNT(requests); i++) {
            while (requests[i].until <= now && requests[i].last) {
                struct chunk *chunk = requests[i].last;
                requests[i].last = chunk->before;
                free(chunk);
            }
            if (requests[i].last)
                continue;
            requests[i].until = now + exponential(0.1);
            for (unsigned n = 1 + below(4); n > 0; n--) {
                struct chunk *chunk = filled(new_chunk(), sizeof *chunk);
                chunk->before = requests[i].last;
                requests[i].last = chunk;
            }
            break;
        }
    }
}
