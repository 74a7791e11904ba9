/* Sockets, by every call that makes, connects, accepts or passes one. The argument says which calls. */
#include "fd.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/un.h>

FD_SITE(a_socket, (int domain, int type, int protocol), socket(domain, type, protocol))
FD_SITE(a_listener, (int domain, int type), socket(domain, type, 0))
FD_SITE(a_pair, (int type, int ends[2]), socketpair(AF_UNIX, type, 0, ends))
FD_SITE(accepted, (int fd), accept(fd, NULL, NULL))
FD_SITE(accepted4, (int fd, int flags), accept4(fd, NULL, NULL, flags))
FD_SITE(passed, (int fd, struct msghdr *message, int flags), recvmsg(fd, message, flags))
FD_SITE(an_end, (int ends[2]), pipe2(ends, O_CLOEXEC))

/* Not an opening: it gives a socket its other end. */
SITE int connected(int fd, const struct sockaddr *address, socklen_t size) { return connect(fd, address, size); }

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int is_bound(int fd, struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    *address = loopback(0);
    CHECK(bind(fd, (struct sockaddr *)address, sizeof *address) == 0);
    return getsockname(fd, (struct sockaddr *)address, &size);
}

/* Listens on a port of the kernel's choice. */
static int tcp_listener(struct sockaddr_in *address)
{
    int fd = opened(&at_a_listener, "tcp", a_listener(AF_INET, SOCK_STREAM));
    CHECK(is_bound(fd, address) == 0 && listen(fd, 61) == 0);
    return fd;
}

static int unix_listener(struct sockaddr_un *address, socklen_t *size)
{
    int fd = opened(&at_a_listener, "unix", a_listener(AF_UNIX, SOCK_STREAM));
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                        (size_t)sprintf(address->sun_path + 1, "leaktrace-leaker-%d", getpid()));
    CHECK(bind(fd, (struct sockaddr *)address, *size) == 0 && listen(fd, 61) == 0);
    return fd;
}

static int tcp_client(const struct sockaddr_in *address)
{
    int fd = opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(connected(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    return fd;
}

static void sockets(void)
{
    int ends[2];
    struct sockaddr_in address;
    for (int i = 0; i < 7; i++)
        opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM, 0));
    for (int i = 0; i < 5; i++)
        opened(&at_a_socket, "udp", a_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    for (int i = 0; i < 3; i++)
        opened(&at_a_socket, "unix", a_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    for (int i = 0; i < 2; i++)
        opened(&at_a_socket, "netlink", a_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    for (int i = 0; i < 11; i++)
        close_it(opened(&at_a_socket, "udp", a_socket(AF_INET, SOCK_DGRAM, 0)));
    for (int i = 0; i < 5; i++) {
        CHECK(a_pair(i % 2 ? SOCK_STREAM : SOCK_DGRAM, ends) == 0);
        opened(&at_a_pair, "unix", ends[0]);
        opened(&at_a_pair, "unix", ends[1]);
        if (i < 2)
            close_it(ends[1]);
    }
    /* Neither bind nor listen opens anything. */
    int udp = opened(&at_a_socket, "udp", a_socket(AF_INET, SOCK_DGRAM, 0));
    CHECK(is_bound(udp, &address) == 0);
    tcp_listener(&address);
    refused(&at_a_socket, EAFNOSUPPORT, a_socket(255, SOCK_STREAM, 0));
    refused(&at_a_socket, EPROTONOSUPPORT, a_socket(AF_INET, SOCK_STREAM, 254));
    refused(&at_a_pair, EINVAL, socketpair(AF_UNIX, 77, 0, ends));
}

static void accepts(void)
{
    struct sockaddr_in address;
    struct sockaddr_un path;
    socklen_t size;
    int tcp = tcp_listener(&address), local = unix_listener(&path, &size);
    for (int i = 0; i < 13; i++) {
        int client = tcp_client(&address);
        int server = opened(&at_accepted, "tcp", accepted(tcp));
        if (i % 4 == 1)
            close_it(server);
        else if (i % 4 == 2)
            close_it(client);
    }
    for (int i = 0; i < 7; i++) {
        int client = opened(&at_a_socket, "unix", a_socket(AF_UNIX, SOCK_STREAM, 0));
        CHECK(connected(client, (struct sockaddr *)&path, size) == 0);
        opened(&at_accepted4, "unix", accepted4(local, SOCK_CLOEXEC | SOCK_NONBLOCK));
    }
    CHECK(fcntl(tcp, F_SETFL, O_NONBLOCK) == 0);
    for (int i = 0; i < 5; i++)
        refused(&at_accepted4, EAGAIN, accepted4(tcp, SOCK_CLOEXEC));
    int idle = opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM, 0));
    refused(&at_accepted, EINVAL, accepted(idle));
}

/* Moves a known number of bytes one way, and reads a known part of them. */
static void moves(int from, int to)
{
    char bytes[1009] = {0};
    CHECK(write(from, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    CHECK(recv(to, bytes, 211, MSG_WAITALL) == 211);
}

static void connects(void)
{
    struct sockaddr_in address, nobody;
    int tcp = tcp_listener(&address);
    for (int i = 0; i < 7; i++) {
        int client = tcp_client(&address);
        int server = opened(&at_accepted4, "tcp", accepted4(tcp, 0));
        moves(client, server);
    }
    for (int i = 0; i < 5; i++) {
        int client = opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        int result = connected(client, (struct sockaddr *)&address, sizeof address);
        CHECK(result == 0 || errno == EINPROGRESS);
        struct pollfd wait = {.fd = client, .events = POLLOUT};
        CHECK(poll(&wait, 1, -1) == 1 && (wait.revents & POLLERR) == 0);
        opened(&at_accepted4, "tcp", accepted4(tcp, 0));
        if (i == 0)
            close_it(client);
    }
    /* A port that nobody listens on, and that nobody else is given meanwhile. */
    int bound = opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM, 0));
    CHECK(is_bound(bound, &nobody) == 0);
    for (int i = 0; i < 3; i++) {
        int client = opened(&at_a_socket, "tcp", a_socket(AF_INET, SOCK_STREAM, 0));
        CHECK(connected(client, (struct sockaddr *)&nobody, sizeof nobody) == -1 && errno == ECONNREFUSED);
        if (i == 0)
            close_it(client);
    }
    int udp = opened(&at_a_socket, "udp", a_socket(AF_INET, SOCK_DGRAM, 0));
    CHECK(connected(udp, (struct sockaddr *)&nobody, sizeof nobody) == 0);
}

static int old_file, old_device, old_directory;

/* Descriptors in one message, or none where there are none. */
static void give(int to, const int *fds, size_t n)
{
    char byte = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
    memcpy(CMSG_DATA(header), fds, n * sizeof(int));
    CHECK(sendmsg(to, &message, 0) == 1);
}

/* Books the descriptors of a message, of these kinds in turn. */
static size_t taken(struct fd_site *site, struct msghdr *message, const char *const *kinds)
{
    size_t n = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            opened(site, kinds[n++], fd);
        }
    }
    return n;
}

struct inbox {
    char byte;
    struct iovec data;
    _Alignas(struct cmsghdr) char control[256];
    struct msghdr message;
};

static struct msghdr *empty(struct inbox *inbox, size_t control)
{
    inbox->data = (struct iovec){&inbox->byte, 1};
    inbox->message = (struct msghdr){.msg_iov = &inbox->data, .msg_iovlen = 1, .msg_control = inbox->control,
                                     .msg_controllen = control};
    return &inbox->message;
}

static void rights(void)
{
    static const char *const kinds[] = {"pipe", "pipe", "file", "device", "unix", "directory", "file"};
    int fds[7], ends[2];
    struct inbox inbox, inboxes[5];
    struct mmsghdr many[5];
    CHECK(a_pair(SOCK_DGRAM, ends) == 0);
    opened(&at_a_pair, "unix", ends[0]);
    opened(&at_a_pair, "unix", ends[1]);
    CHECK(an_end(fds) == 0);
    opened(&at_an_end, "pipe", fds[0]);
    opened(&at_an_end, "pipe", fds[1]);
    memcpy(fds + 2, (int[]){old_file, old_device, ends[0], old_directory, old_file}, 5 * sizeof(int));
    /* Several in a message; several messages. */
    for (int i = 0; i < 3; i++)
        give(ends[0], fds, 7);
    for (int i = 0; i < 3; i++) {
        CHECK(passed(ends[1], empty(&inbox, sizeof inbox.control), i == 1 ? MSG_CMSG_CLOEXEC : 0) == 1);
        CHECK(taken(&at_passed, &inbox.message, kinds) == 7);
    }
    /* Looking at a message makes copies, and taking it makes others. */
    give(ends[0], fds, 2);
    CHECK(passed(ends[1], empty(&inbox, sizeof inbox.control), MSG_PEEK) == 1);
    CHECK(taken(&at_passed, &inbox.message, kinds) == 2);
    CHECK(passed(ends[1], empty(&inbox, sizeof inbox.control), 0) == 1);
    CHECK(taken(&at_passed, &inbox.message, kinds) == 2);
    /* Room for three of seven: the others are closed before anyone has them. */
    give(ends[0], fds, 7);
    CHECK(passed(ends[1], empty(&inbox, CMSG_LEN(3 * sizeof(int))), 0) == 1);
    CHECK((inbox.message.msg_flags & MSG_CTRUNC) && taken(&at_passed, &inbox.message, kinds) == 3);
    /* No room at all, and nothing sent. */
    give(ends[0], fds, 5);
    CHECK(passed(ends[1], empty(&inbox, 0), 0) == 1);
    CHECK(write(ends[0], "x", 1) == 1 && passed(ends[1], empty(&inbox, sizeof inbox.control), 0) == 1);
    CHECK(taken(&at_passed, &inbox.message, kinds) == 0);
    refused(&at_passed, EAGAIN, passed(ends[1], empty(&inbox, sizeof inbox.control), MSG_DONTWAIT));
    /* Several messages by one call: a tracer would have to go through the headers of all of them, and looks for what they
     * brought instead. */
    for (int i = 0; i < 5; i++) {
        give(ends[0], fds, (size_t)(i + 1));
        many[i] = (struct mmsghdr){.msg_hdr = *empty(&inboxes[i], sizeof inboxes[i].control)};
    }
    CHECK(recvmmsg(ends[1], many, 5, 0, NULL) == 5);
    for (int i = 0; i < 5; i++) {
        CHECK(taken(&from_nowhere, &many[i].msg_hdr, kinds) == (size_t)(i + 1));
        unseen_opens += (unsigned long)i + 1;
    }
    /* Sent, and never taken: nobody's. */
    give(ends[0], fds, 7);
}

static volatile sig_atomic_t woken, woken_enough;
static pthread_t waiting_thread;

static void on_signal(int number)
{
    (void)number;
    woken++;
}

/* One signal may come before the call blocks, so they come until the call was ended by one. */
static void *waker(void *nothing)
{
    while (!woken_enough) {
        pthread_kill(waiting_thread, SIGUSR1);
        usleep(10007);
    }
    return nothing;
}

static void *connector(void *address)
{
    while (woken < 7) {
        pthread_kill(waiting_thread, SIGUSR1);
        usleep(10007);
    }
    tcp_client(address);
    return NULL;
}

/* A signal ends a blocked accept, or has the kernel begin it anew. */
static void interrupted(void)
{
    struct sockaddr_in address;
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t thread;
    int listener = tcp_listener(&address);
    waiting_thread = pthread_self();
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && pthread_create(&thread, NULL, waker, NULL) == 0);
    refused(&at_accepted, EINTR, accepted(listener));
    woken_enough = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    woken = 0;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && pthread_create(&thread, NULL, connector, &address) == 0);
    int fd = accepted4(listener, SOCK_CLOEXEC);
    CHECK(pthread_join(thread, NULL) == 0);
    opened(&at_accepted4, "tcp", fd);
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*work)(void);
    } modes[] = {{"sockets", sockets}, {"accepts", accepts}, {"connects", connects},
                 {"rights", rights},   {"interrupted", interrupted}};
    CHECK(count == 2);
    CHECK((old_file = open("/proc/self/exe", O_RDONLY)) > 2 && (old_device = open("/dev/null", O_RDWR)) > 2);
    CHECK((old_directory = open("/", O_DIRECTORY)) > 2);
    fd_ready();
    for (size_t i = 0; i < COUNT(modes); i++)
        if (strcmp(modes[i].name, arguments[1]) == 0)
            modes[i].work();
    print_fd_ledger();
    done();
    return 0;
}
