/*
 * A cache without a limit whose keys contain a time, so that new ones keep coming: whoever wrote it says that it is a
 * cache, whoever runs it that it leaks. Both words are right.
 *
 * expect: cache_page = leaking|growing
 * rate: cache_page = 48000
 */
#include "labelled.h"

SITE char *cache_page(void) { return malloc(1200); }

int main(int argc, char **argv)
{
    static char *pages[1 << 20];
    begin(argc, argv);
    for (unsigned request = 0, known = 0;; request++) {
        tick(1.0 / 60);
        /* Every third one asks for what is known. */
        if (request % 3)
            pages[known++ % COUNT(pages)] = filled(cache_page(), 1200);
        else if (known)
            CHECK(pages[below(known)][0] == 0x5a);
    }
}
