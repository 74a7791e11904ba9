/*
 * A server that is connected to ten times a second. It frees what it keeps of a peer when that says goodbye; every second one
 * just closes.
 *
 * expect: peer_record = leaking
 * expect: read_buffer = churn|steady
 * rate: peer_record = 800
 */
#include "labelled.h"
#include <sys/socket.h>
#include <sys/un.h>

SITE char *peer_record(void) { return malloc(160); }
SITE char *read_buffer(void) { return malloc(8192); }

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "labelled-%d", getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0);
    begin(argc, argv);
    for (unsigned connection = 0;; connection++) {
        tick(0.1);
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
        if (connection % 2)
            CHECK(write(client, "bye", 3) == 3);
        close(client);
        int server = accept(listener, NULL, NULL);
        char *peer = filled(peer_record(), 160), *buffer = filled(read_buffer(), 8192);
        if (read(server, buffer, 8192) > 0)
            free(peer);
        free(buffer);
        close(server);
    }
}
