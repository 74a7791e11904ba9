/*
 * Sessions and their timers hold each other by shared pointers, so that neither is ever freed.
 *
 * expect: make_session = leaking
 * expect: make_timer = leaking
 * expect: request_body = churn|steady
 */
#include "labelled.h"
#include <memory>
#include <vector>

struct Session;

struct Timer {
    std::shared_ptr<Session> session;
    char name[40];
};

struct Session {
    std::shared_ptr<Timer> timer;
    char state[300];
};

SITE std::shared_ptr<Session> make_session() { return std::make_shared<Session>(); }
SITE std::shared_ptr<Timer> make_timer() { return std::make_shared<Timer>(); }
SITE std::vector<char> request_body() { return std::vector<char>(5000 + below(5000), 'x'); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 15);
        auto body = request_body();
        auto session = make_session();
        session->timer = make_timer();
        session->timer->session = session;
    }
}
