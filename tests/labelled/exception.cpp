/*
 * A raw pointer across code that throws: a request in fifty is malformed, and its header block is never deleted.
 *
 * expect: new_header = leaking
 * rate: new_header = 1600
 */
#include "labelled.h"
#include <stdexcept>

struct Header {
    char fields[400];
};

SITE Header *new_header() { return new Header; }

SITE void parse(unsigned request)
{
    Header *header = new_header();
    if (request % 50 == 0)
        throw std::invalid_argument("header");
    delete header;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (unsigned request = 0;; request++) {
        tick(1.0 / 200);
        try {
            parse(request);
        } catch (const std::invalid_argument &) {
        }
    }
}
