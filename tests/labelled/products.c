/*
 * A cache without a limit over a catalogue of 2,000 products: it has nearly all of them after half a minute.
 *
 * expect: load_product = bounded
 */
#include "labelled.h"

SITE char *load_product(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static char *products[2000];
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 100);
        for (int i = 0; i < 4; i++) {
            unsigned product = below(COUNT(products));
            size_t n = 100 + product % 400;
            if (!products[product])
                products[product] = filled(load_product(n), n);
        }
    }
}
