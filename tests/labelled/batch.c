/*
 * A job every thirteen seconds reads rows for eight, holds all of them until it has written its result, and frees them.
 *
 * expect: read_row = steady|churn|bounded
 */
#include "labelled.h"

SITE char *read_row(void) { return malloc(800); }

int main(int argc, char **argv)
{
    static char *rows[2000];
    begin(argc, argv);
    for (;;) {
        size_t n = 0;
        for (unsigned round = 0; round < 400; round++) {
            tick(0.02);
            for (unsigned more = below(5); more > 0; more--)
                rows[n++] = filled(read_row(), 800);
        }
        while (n > 0)
            free(rows[--n]);
        tick(5);
    }
}
