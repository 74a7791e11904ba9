/*
 * A hash map of open orders: as many come as are filled or cancelled, some at once, some after seconds. Its table of buckets grows
 * with the first of them.
 *
 * expect: insert_order = steady|churn|bounded|start-up
 */
#include "labelled.h"
#include <string>
#include <unordered_map>
#include <vector>

struct Order {
    std::string client;
    double until;
};

static std::unordered_map<uint64_t, Order> book;

SITE void insert_order(uint64_t id, double until) { book.emplace(id, Order{std::string(30 + below(50), 'c'), until}); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (uint64_t id = 0;;) {
        double now = tick(0.05);
        for (unsigned n = poisson(80 * 0.05); n > 0; n--)
            insert_order(id++, now + exponential(below(4) ? 0.2 : 6));
        for (auto at = book.begin(); at != book.end();)
            at = at->second.until <= now ? book.erase(at) : std::next(at);
    }
}
