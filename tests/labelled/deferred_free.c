/*
 * What is replaced is freed when no reader can have it any more: all together, every five seconds.
 *
 * expect: new_version = steady|churn|bounded
 */
#include "labelled.h"

SITE char *new_version(void) { return malloc(450); }

int main(int argc, char **argv)
{
    static char *current[64], *retired[1000];
    size_t n = 0;
    begin(argc, argv);
    for (unsigned round = 1;; round++) {
        tick(1.0 / 40);
        char **entry = &current[below(COUNT(current))];
        if (*entry)
            retired[n++] = *entry;
        *entry = filled(new_version(), 450);
        if (round % 200 == 0)
            while (n > 0)
                free(retired[--n]);
    }
}
