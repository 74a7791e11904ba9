/*
 * Allocates inside of the C library: what it makes for its caller, and what it calls back from.
 */
#include "../leaker.h"
#include <dirent.h>
#include <ftw.h>
#include <glob.h>
#include <locale.h>
#include <netdb.h>
#include <regex.h>
#include <search.h>
#include <time.h>

#define AFTER(p) __asm__ volatile("" ::"r"(p) : "memory")

SITE static void *take(size_t n)
{
    void *p = malloc(n);
    CHECK(p != NULL);
    AFTER(p);
    return p;
}

SITE static void strings(void)
{
    char *text;
    AFTER(strdup("abc"));
    AFTER(strndup("abcdef", 4));
    CHECK(asprintf(&text, "%s %d %f", "abc", 5, 0.5) > 0);
    CHECK(setenv("LEAKTRACE_SHAPE", text, 1) == 0);
    CHECK(setenv("LEAKTRACE_SHAPE", "longer than the one before it was", 1) == 0);
    AFTER(realpath("/usr/./lib/..", NULL));
    AFTER(getcwd(NULL, 0));
}

SITE static void streams(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    CHECK(memory != NULL);
    for (int i = 0; i < 5000; i++)
        fprintf(memory, "%d\n", i);
    CHECK(fclose(memory) == 0);
    FILE *read = fmemopen(text, size, "r");
    CHECK(read != NULL);
    char *line = NULL;
    size_t room = 0;
    for (int i = 0; i < 7; i++)
        CHECK(getline(&line, &room, read) > 0);
    CHECK(getdelim(&line, &room, 'x', read) > 0);
    CHECK(fclose(read) == 0);
    FILE *null = fopen("/dev/null", "r+");
    CHECK(null != NULL && fputs("abc", null) >= 0 && fclose(null) == 0);
}

#ifdef __GLIBC__
static ssize_t write_cookie(void *cookie, const char *bytes, size_t n)
{
    AFTER(bytes);
    AFTER(cookie);
    AFTER(take(n));
    return (ssize_t)n;
}

SITE static void cookies(void)
{
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_cookie});
    CHECK(stream != NULL);
    for (int i = 0; i < 3000; i++)
        fprintf(stream, "%d %s ", i, "abc");
    CHECK(fclose(stream) == 0);
}
#endif

static int select_entry(const struct dirent *entry)
{
    AFTER(entry);
    AFTER(take(7));
    return 1;
}

static int compare_entries(const struct dirent **left, const struct dirent **right)
{
    AFTER(take(11));
    return strcmp((*left)->d_name, (*right)->d_name);
}

static int visit(const char *path, const struct stat *status, int flag, struct FTW *where)
{
    AFTER(path);
    AFTER(status);
    AFTER(take((size_t)(flag + where->level + 1)));
    return 0;
}

SITE static void folders(void)
{
    struct dirent **entries;
    CHECK(scandir("/proc/self/fdinfo", &entries, select_entry, compare_entries) > 0);
    CHECK(nftw("/proc/self/fdinfo", visit, 5, FTW_PHYS) == 0);
    glob_t found;
    CHECK(glob("/proc/self/fd*", 0, NULL, &found) == 0);
}

SITE static void expressions(void)
{
    regex_t expression;
    regmatch_t matches[3];
    CHECK(regcomp(&expression, "(a|b)*c([0-9]{2,3}|x+)", REG_EXTENDED) == 0);
    CHECK(regexec(&expression, "ababc123", 3, matches, 0) == 0);
    regfree(&expression);
}

SITE static void tables(void)
{
    CHECK(hcreate(31) != 0);
    CHECK(hsearch((ENTRY){.key = "abc"}, ENTER) != NULL);
    time_t now = 1000000007;
    struct tm broken;
    AFTER(localtime_r(&now, &broken));
    tzset();
    AFTER(setlocale(LC_ALL, "C"));
    AFTER(newlocale(LC_ALL_MASK, "C", NULL));
    struct servent *service = getservbyname("http", "tcp");
    AFTER(service);
    endservent();
}

int main(void)
{
    ready();
    /* free() has to be linked into a static program. */
    free(take(3));
    strings();
    streams();
#ifdef __GLIBC__
    cookies();
#endif
    folders();
    expressions();
    tables();
    done();
    return 0;
}
