/*
 * Blocks that libc allocates for its caller. Each site is two functions deep, so that it is found even when a walk by
 * frame pointers loses the caller of a libc function that has none.
 */
#include "leaker.h"

enum { STRDUP, STRNDUP, ASPRINTF, GETLINE, FOPEN, FCLOSED };

static struct site sites[] = {
    {"site_strdup"},
    {"site_strndup"},
    /* How these grow their buffers is libc's business. */
    {"site_asprintf", 0, 0, 0, 0, KNOWS_HISTORY},
    {"site_getline", 0, 0, 0, 0, KNOWS_HISTORY},
    /* As is the size of a FILE. */
    {"site_fopen", 0, 0, 0, 0, KNOWS_HISTORY | KNOWS_INUSE_BYTES},
    {"site_fclosed", 0, 0, 0, 0, KNOWS_HISTORY},
};

static char text[1009];

SITE char *call_strdup(void) { return strdup(text); }
SITE char *site_strdup(void) { return call_strdup(); }
SITE char *call_strndup(size_t n) { return strndup(text, n); }
SITE char *site_strndup(size_t n) { return call_strndup(n); }
SITE int call_asprintf(char **out, int width) { return asprintf(out, "%0*d", width, 7); }
SITE int site_asprintf(char **out, int width) { return call_asprintf(out, width); }
SITE ssize_t call_getline(char **line, size_t *n, FILE *file) { return getline(line, n, file); }
SITE ssize_t site_getline(char **line, size_t *n, FILE *file) { return call_getline(line, n, file); }
SITE FILE *call_fopen(void) { return fopen("/proc/self/cmdline", "r"); }
SITE FILE *site_fopen(void) { return call_fopen(); }
SITE FILE *call_fclosed(void) { return fopen("/proc/self/cmdline", "r"); }
SITE FILE *site_fclosed(void) { return call_fclosed(); }

int main(void)
{
    static char stream_buffer[4096], lines[20011];
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < sizeof lines; i++)
        lines[i] = i % 2003 == 2002 ? '\n' : 'y';
    /* Its stream exists before the tracing, and has its buffer. */
    FILE *file = fmemopen(lines, sizeof lines, "r");
    CHECK(file && setvbuf(file, stream_buffer, _IOFBF, sizeof stream_buffer) == 0);
    ready();
    for (int i = 0; i < 101; i++) {
        char *p = site_strdup();
        CHECK(p != NULL);
        took(&sites[STRDUP], sizeof text);
        if (i % 3 == 0) {
            free(p);
            gave(&sites[STRDUP], sizeof text);
        }
    }
    for (int i = 0; i < 103; i++) {
        CHECK(site_strndup(211) != NULL);
        took(&sites[STRNDUP], 212);
    }
    for (int i = 0; i < 107; i++) {
        char *p;
        CHECK(site_asprintf(&p, 1019) == 1019);
        took(&sites[ASPRINTF], 1020);
    }
    for (int i = 0; i < 7; i++) {
        char *line = NULL;
        size_t n = 0;
        CHECK(site_getline(&line, &n, file) == 2003);
        took(&sites[GETLINE], n);
    }
    for (int i = 0; i < 13; i++) {
        CHECK(site_fopen() != NULL);
        took(&sites[FOPEN], 0);
    }
    for (int i = 0; i < 17; i++) {
        FILE *closed = site_fclosed();
        CHECK(closed != NULL && fclose(closed) == 0);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
