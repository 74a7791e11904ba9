/*
 * Loads its tables within two seconds of its start, keeps them, and serves.
 *
 * expect: load_entry = start-up
 * expect: answer = churn|steady
 */
#include "labelled.h"

SITE char *load_entry(size_t n) { return malloc(n); }
SITE char *answer(void) { return malloc(1000); }

int main(int argc, char **argv)
{
    static char *table[5000];
    begin(argc, argv);
    for (unsigned i = 0; i < COUNT(table); i++) {
        if (i % 50 == 0)
            tick(0.02);
        table[i] = filled(load_entry(20 + i % 300), 20);
    }
    for (;;) {
        tick(1.0 / 50);
        free(filled(answer(), 1000));
    }
}
