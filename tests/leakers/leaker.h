/*
 * What every leaker shares: the protocol with the suite, and the ledger.
 *
 * A leaker prints "ready", blocks on a line from stdin, does its work, prints one JSON line per site with the numbers
 * that a tracer must find, prints "done", blocks again, and exits. Nothing here allocates: the ledger is static, lines
 * are formatted into static memory and written by write(2).
 *
 * Counts and sizes in leakers are primes or products of distinct primes, so that no sum comes out right by accident.
 */
#ifndef LEAKER_H
#define LEAKER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A function that stays one: never inlined, cloned, merged or analysed. */
#define SITE __attribute__((noipa))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Numbers that a program cannot know are left out of its ledger. */
#define KNOWS_INUSE_BYTES 1
#define KNOWS_INUSE_OBJECTS 2
#define KNOWS_HISTORY 4
#define KNOWS_ALL 7

struct site {
    const char *name;
    unsigned long alloc_bytes, alloc_objects, free_bytes, free_objects;
    /* Which numbers it does NOT know: zero, the default, is none. */
    unsigned unknown;
};

/* A block that the program holds, with the site that made it. */
struct block {
    void *p;
    size_t n;
    struct site *site;
};

/* Of a clock that is never set. */
static inline uint64_t now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* The site allocated a block of n bytes. */
static inline void took(struct site *site, size_t n)
{
    __atomic_fetch_add(&site->alloc_bytes, n, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->alloc_objects, 1, __ATOMIC_RELAXED);
}

/* A block of n bytes that the site had allocated was freed. */
static inline void gave(struct site *site, size_t n)
{
    __atomic_fetch_add(&site->free_bytes, n, __ATOMIC_RELAXED);
    __atomic_fetch_add(&site->free_objects, 1, __ATOMIC_RELAXED);
}

static inline void fail(const char *what)
{
    char line[256];
    int n = snprintf(line, sizeof line, "the leaker failed: %s\n", what);
    if (write(2, line, (size_t)n) != n)
        _exit(5);
    _exit(4);
}

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition))

/* A line of at most this many bytes, newline included. */
#define LINE_BYTES 512

static inline void say(const char *line)
{
    size_t n = strlen(line);
    CHECK(write(1, line, n) == (ssize_t)n);
}

/* Blocks until the suite sends a line, and stores it without its newline. The suite's end is this program's end. */
static inline void hear(char *line, size_t size)
{
    size_t n = 0;
    for (;;) {
        char c;
        if (read(0, &c, 1) != 1)
            _exit(3);
        if (c == '\n')
            break;
        if (n + 1 < size)
            line[n++] = c;
    }
    line[n] = 0;
}

static inline void ready(void)
{
    char line[64];
    say("ready\n");
    hear(line, sizeof line);
}

static inline void done(void)
{
    char line[64];
    say("done\n");
    hear(line, sizeof line);
}

static inline void print_site(const struct site *site)
{
    static char line[LINE_BYTES];
    int n = snprintf(line, sizeof line, "{\"site\":\"%s\"", site->name);
    if (!(site->unknown & KNOWS_INUSE_BYTES))
        n += snprintf(line + n, sizeof line - n, ",\"inuse_bytes\":%lu", site->alloc_bytes - site->free_bytes);
    if (!(site->unknown & KNOWS_INUSE_OBJECTS))
        n += snprintf(line + n, sizeof line - n, ",\"inuse_objects\":%lu", site->alloc_objects - site->free_objects);
    if (!(site->unknown & KNOWS_HISTORY))
        n += snprintf(line + n, sizeof line - n,
                      ",\"alloc_bytes\":%lu,\"alloc_objects\":%lu,\"free_bytes\":%lu,\"free_objects\":%lu",
                      site->alloc_bytes, site->alloc_objects, site->free_bytes, site->free_objects);
    snprintf(line + n, sizeof line - n, "}\n");
    say(line);
}

static inline void print_sites(const struct site *sites, size_t n)
{
    for (size_t i = 0; i < n; i++)
        print_site(&sites[i]);
}

/* A number that the report must have among its statistics. */
static inline void print_stat(const char *name, unsigned long count)
{
    static char line[LINE_BYTES];
    snprintf(line, sizeof line, "{\"stat\":\"%s\",\"count\":%lu}\n", name, count);
    say(line);
}

#endif
