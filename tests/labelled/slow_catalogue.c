/*
 * A cache without a limit over 6,000 users, of whom it has seen nine in ten after a minute: it still grows, ever more slowly.
 *
 * expect: load_user = growing|bounded
 */
#include "labelled.h"

SITE char *load_user(void) { return malloc(350); }

int main(int argc, char **argv)
{
    static char *users[6000];
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 250);
        unsigned user = below(COUNT(users));
        if (!users[user])
            users[user] = filled(load_user(), 350);
    }
}
