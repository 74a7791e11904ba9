/*
 * Every nine seconds an index is built anew, which takes three; then the old one is freed.
 *
 * expect: new_node = steady|churn|bounded
 */
#include "labelled.h"

struct node {
    struct node *next;
    char key[48];
};

SITE struct node *new_node(void) { return malloc(sizeof(struct node)); }

int main(int argc, char **argv)
{
    struct node *served = NULL;
    begin(argc, argv);
    for (;;) {
        struct node *built = NULL;
        for (unsigned i = 0; i < 3000; i++) {
            struct node *node = filled(new_node(), sizeof *node);
            node->next = built;
            built = node;
            if (i % 10 == 0)
                tick(0.01);
        }
        while (served) {
            struct node *gone = served;
            served = gone->next;
            free(gone);
        }
        served = built;
        tick(6);
    }
}
