/* Blocks that are older than the tracing: freed, or moved on by realloc, in it. */
#include "leaker.h"

enum { NEW, RESIZED };

static struct site sites[] = {{"new_block"}, {"resized"}};
static void *old[401];

SITE void *new_block(size_t n) { return malloc(n); }
SITE void *resized(void *p, size_t n) { return realloc(p, n); }

int main(void)
{
    unsigned long unknown = 0;
    for (size_t i = 0; i < COUNT(old); i++)
        CHECK((old[i] = new_block(1009)) != NULL);
    ready();
    for (int i = 0; i < 103; i++) {
        CHECK(new_block(1013) != NULL);
        took(&sites[NEW], 1013);
    }
    for (int i = 0; i < 211; i++, unknown++)
        free(old[i]);
    /* Their old place was never in the books; the new one is. */
    for (int i = 211; i < 211 + 97; i++, unknown++) {
        CHECK(resized(old[i], 2027) != NULL);
        took(&sites[RESIZED], 2027);
    }
    print_sites(sites, COUNT(sites));
    print_stat("unknown_frees", unknown);
    done();
    return 0;
}
