/*
 * Every three seconds the configuration is loaded again: the old one is freed, but the handlers that it registered stay in
 * the list of handlers.
 *
 * expect: register_handler = leaking
 * expect: load_config = steady|churn|bounded
 */
#include "labelled.h"

struct handler {
    struct handler *before;
    char name[88];
};

static struct handler *handlers;

SITE struct handler *register_handler(void) { return malloc(sizeof(struct handler)); }
SITE char *load_config(void) { return malloc(30000); }

int main(int argc, char **argv)
{
    char *config = NULL;
    begin(argc, argv);
    for (;;) {
        free(config);
        config = filled(load_config(), 30000);
        for (int i = 0; i < 8; i++) {
            struct handler *handler = filled(register_handler(), sizeof *handler);
            handler->before = handlers;
            handlers = handler;
        }
        tick(3);
    }
}
