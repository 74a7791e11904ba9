/*
 * Objects come back to a free list and are never given back to malloc, so there are as many as were ever in use at once.
 *
 * expect: new_object = bounded|steady|start-up
 */
#include "labelled.h"

struct object {
    struct object *next;
    double until;
    char state[2000];
};

static struct object *unused, *used;

SITE struct object *new_object(void) { return malloc(sizeof(struct object)); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        double now = tick(0.02);
        for (struct object **at = &used; *at;) {
            struct object *object = *at;
            if (object->until > now) {
                at = &object->next;
                continue;
            }
            *at = object->next;
            object->next = unused;
            unused = object;
        }
        for (unsigned n = poisson(60 * 0.02); n > 0; n--) {
            struct object *object = unused ? unused : filled(new_object(), sizeof *object);
            unused = object == unused ? object->next : unused;
            *object = (struct object){used, now + exponential(0.6), {0}};
            used = object;
        }
    }
}
