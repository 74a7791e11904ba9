/* More blocks at once than fit into small tables: all are held, then a part is freed. */
#include "leaker.h"

enum { KEPT, DROPPED };

static struct site sites[] = {{"kept"}, {"dropped"}};
static void *held[2 * 15013];

SITE void *kept(size_t n) { return malloc(n); }
SITE void *dropped(size_t n) { return malloc(n); }

int main(void)
{
    ready();
    for (size_t i = 0; i < COUNT(held); i += 2) {
        CHECK((held[i] = kept(31)) != NULL);
        took(&sites[KEPT], 31);
        CHECK((held[i + 1] = dropped(61)) != NULL);
        took(&sites[DROPPED], 61);
    }
    for (size_t i = 1; i < COUNT(held); i += 2) {
        free(held[i]);
        gave(&sites[DROPPED], 61);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
