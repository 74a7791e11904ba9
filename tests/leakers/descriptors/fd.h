/*
 * What leakers of descriptors share: the ledger of who opened what, and what is open.
 *
 * Before "done" such a program prints a line for each site with the descriptors that it opened since the release and
 * those of them that were closed, a line for each descriptor that is open, and what a tracer of system calls cannot have
 * seen. Nothing here opens a descriptor.
 */
#ifndef FD_H
#define FD_H

#include "leaker.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define MAX_FD 131072
#define MAX_SITES 128

struct fd_site {
    const char *name;
    unsigned long opened, closed;
    int listed;
};

/* A site, and the function of the same name that makes one call. */
#define FD_SITE(name, parameters, call)          \
    static struct fd_site at_##name = {#name, 0, 0, 0}; \
    SITE int name parameters { return (int)(call); }

/* Not sites: descriptors from before the attach, and those that came without a system call that returns them. */
static struct fd_site from_before = {"before_attach", 0, 0, 0};
static struct fd_site from_nowhere = {"unseen", 0, 0, 0};

/* What is open, by number: where it came from, and what it is. */
static struct {
    struct fd_site *site;
    const char *kind;
} held[MAX_FD];

static struct fd_site *fd_sites[MAX_SITES];
static size_t fd_site_count;

/* What a tracer has to put right when it looks, because no system call told of it. */
static unsigned long unseen_closes, unseen_opens, numbers_replaced;

/* The site will be in the ledger, also when it opens nothing. */
static inline struct fd_site *listed(struct fd_site *site)
{
    if (!site->listed && site != &from_before && site != &from_nowhere) {
        CHECK(fd_site_count < MAX_SITES);
        fd_sites[fd_site_count++] = site;
    }
    site->listed = 1;
    return site;
}

/* The site opened fd, whose number was free. */
static inline int opened(struct fd_site *site, const char *kind, int fd)
{
    CHECK(fd >= 0 && fd < MAX_FD && held[fd].site == NULL);
    listed(site)->opened++;
    held[fd].site = site;
    held[fd].kind = kind;
    return fd;
}

/* fd was closed, by whatever means. */
static inline void closed(int fd)
{
    CHECK(held[fd].site != NULL);
    held[fd].site->closed++;
    held[fd].site = NULL;
}

/* So was every number in this range that was open. */
static inline void closed_range(int first, int last)
{
    for (int fd = first; fd <= last; fd++)
        if (held[fd].site != NULL)
            closed(fd);
}

static inline void close_it(int fd)
{
    CHECK(close(fd) == 0);
    closed(fd);
}

/* The site had a call that must fail with this error, and opened nothing. */
static inline void refused(struct fd_site *site, int error, int result)
{
    int seen = errno;
    CHECK(result == -1 && seen == error);
    listed(site);
}

static inline const char *kind_of(int fd)
{
    struct stat status;
    int domain, type;
    socklen_t size = sizeof domain;
    CHECK(fstat(fd, &status) == 0);
    switch (status.st_mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFCHR:
    case S_IFBLK:
        return "device";
    case S_IFIFO:
        return "pipe";
    case S_IFSOCK:
        CHECK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0);
        size = sizeof type;
        CHECK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0);
        if (domain == AF_UNIX)
            return "unix";
        if (domain == AF_NETLINK)
            return "netlink";
        if (domain == AF_INET || domain == AF_INET6)
            return type == SOCK_STREAM ? "tcp" : type == SOCK_DGRAM ? "udp" : "socket";
        return "socket";
    default:
        return "other";
    }
}

/* Notes what this process was started with, and waits for the release. */
static inline void fd_ready(void)
{
    for (int fd = 0; fd < 1024; fd++)
        if (held[fd].site == NULL && fcntl(fd, F_GETFD) != -1)
            opened(&from_before, kind_of(fd), fd);
    ready();
}

/* Something that this kernel does not do, or not for us: the suite says so, and the ledger goes without it. */
static inline void absent(const char *what)
{
    static char line[LINE_BYTES];
    snprintf(line, sizeof line, "{\"absent\":\"%s\",\"error\":\"%s\"}\n", what, strerror(errno));
    say(line);
}

static inline void print_fd_ledger(void)
{
    static char line[LINE_BYTES];
    for (size_t i = 0; i < fd_site_count; i++) {
        const struct fd_site *site = fd_sites[i];
        unsigned long open = 0;
        for (int fd = 0; fd < MAX_FD; fd++)
            open += held[fd].site == site;
        snprintf(line, sizeof line, "{\"fd_site\":\"%s\",\"opened\":%lu,\"closed\":%lu,\"open\":%lu}\n", site->name,
                 site->opened, site->closed, open);
        say(line);
    }
    for (int fd = 0; fd < MAX_FD; fd++) {
        const struct fd_site *site = held[fd].site;
        if (site == NULL)
            continue;
        if (site == &from_before || site == &from_nowhere)
            snprintf(line, sizeof line, "{\"fd\":%d,\"kind\":\"%s\",\"origin\":\"%s\"}\n", fd, held[fd].kind, site->name);
        else
            snprintf(line, sizeof line, "{\"fd\":%d,\"kind\":\"%s\",\"origin\":\"site\",\"at\":\"%s\"}\n", fd,
                     held[fd].kind, site->name);
        say(line);
    }
    snprintf(line, sizeof line, "{\"unseen_closes\":%lu,\"unseen_opens\":%lu,\"replaced\":%lu}\n", unseen_closes,
             unseen_opens, numbers_replaced);
    say(line);
}

#endif
