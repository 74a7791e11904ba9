/*
 * An audit log in a vector of strings that nobody clears. The vector itself doubles ever more rarely, so its buffer may be
 * called anything.
 *
 * expect: copy_line = leaking
 * expect: append = any
 * rate: copy_line = 10050
 */
#include "labelled.h"
#include <string>
#include <vector>

static std::vector<std::string> audit;

SITE std::string copy_line(size_t n) { return std::string(n, 'a'); }
SITE void append(std::string &&line) { audit.push_back(std::move(line)); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 50);
        // A byte for the end.
        append(copy_line(200));
    }
}
