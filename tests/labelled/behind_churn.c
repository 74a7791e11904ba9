/*
 * 20,000 short strings a second, and ten small blocks a second among them that stay.
 *
 * expect: index_entry = leaking
 * expect: token = churn|steady
 * rate: index_entry = 640
 */
#include "labelled.h"

SITE char *token(size_t n) { return malloc(n); }
SITE char *index_entry(void) { return malloc(64); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (unsigned round = 0;; round++) {
        char *tokens[100];
        tick(0.005);
        for (int i = 0; i < 100; i++)
            tokens[i] = filled(token(8 + below(120)), 8);
        for (int i = 0; i < 100; i++)
            free(tokens[i]);
        if (round % 20 == 0)
            filled(index_entry(), 64);
    }
}
