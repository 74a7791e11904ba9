/*
 * What C++ programs allocate with: new, new[], over-aligned new, containers, strings, shared pointers, exceptions.
 * Between a site and malloc lie the C++ runtime's functions, which have no frame pointers; so each site is two
 * functions deep, and is found even when a walk by frame pointers loses the inner one.
 */
#include "leaker.h"
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

enum { NEW, ARRAY, ALIGNED, VECTOR, STRING, SHARED, MAP, EXCEPTION, TEMPLATE, METHOD };

static struct site sites[] = {
    {"site_new"},
    {"site_new_array"},
    {"site_aligned_new"},
    {"site_vector"},
    {"site_string"},
    /* The library's own headers are added to the block: their number is known, their size is not. */
    {"site_shared", 0, 0, 0, 0, KNOWS_INUSE_BYTES | KNOWS_HISTORY},
    {"site_map", 0, 0, 0, 0, KNOWS_INUSE_BYTES | KNOWS_HISTORY},
    {"site_exception", 0, 0, 0, 0, KNOWS_INUSE_BYTES | KNOWS_HISTORY},
    {"site_template"},
    {"leaky::Cache::insert"},
};

struct Node {
    char bytes[1009];
};

struct alignas(128) Wide {
    char bytes[128 * 7];
};

SITE Node *call_new() { return new Node; }
SITE Node *site_new() { return call_new(); }
SITE char *call_new_array(size_t n) { return new char[n]; }
SITE char *site_new_array(size_t n) { return call_new_array(n); }
SITE Wide *call_aligned_new() { return new Wide; }
SITE Wide *site_aligned_new() { return call_aligned_new(); }
SITE void call_push(std::vector<uint64_t> &vector, uint64_t value) { vector.push_back(value); }
SITE void site_vector(std::vector<uint64_t> &vector, uint64_t value) { call_push(vector, value); }
SITE void call_append(std::string &string) { string.push_back('x'); }
SITE void site_string(std::string &string) { call_append(string); }
SITE std::shared_ptr<Node> call_shared() { return std::make_shared<Node>(); }
SITE std::shared_ptr<Node> site_shared() { return call_shared(); }
SITE void call_map(std::map<int, int> &map, int key) { map.emplace(key, key); }
SITE void site_map(std::map<int, int> &map, int key) { call_map(map, key); }
SITE void call_throw(int i) { throw i; }
SITE std::exception_ptr site_exception(int i)
{
    try {
        call_throw(i);
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}
template <typename T> SITE T *call_template(size_t n) { return new T[n]; }
template <typename T> SITE T *site_template(size_t n) { return call_template<T>(n); }

namespace leaky {
struct Cache {
    Node *last = nullptr;
    SITE void store() { last = new Node; }
    SITE void insert() { store(); }
};
}

/* Never destroyed. */
template <typename T> static T &immortal(size_t index)
{
    alignas(T) static char memory[32][sizeof(T)];
    CHECK(index < 32);
    return *new (memory[index]) T();
}

int main()
{
    /* The runtime's per-thread exception state and its emergency pool exist before the tracing. */
    site_exception(1);
    ready();
    for (int i = 0; i < 101; i++) {
        Node *p = site_new();
        took(&sites[NEW], sizeof(Node));
        if (i % 3 == 0) {
            delete p;
            gave(&sites[NEW], sizeof(Node));
        }
    }
    for (int i = 0; i < 103; i++) {
        char *p = site_new_array(1013);
        took(&sites[ARRAY], 1013);
        if (i % 3 == 0) {
            delete[] p;
            gave(&sites[ARRAY], 1013);
        }
    }
    for (int i = 0; i < 107; i++) {
        Wide *p = site_aligned_new();
        took(&sites[ALIGNED], sizeof(Wide));
        if (i % 3 == 0) {
            delete p;
            gave(&sites[ALIGNED], sizeof(Wide));
        }
    }
    for (size_t i = 0; i < 7; i++) {
        auto &vector = immortal<std::vector<uint64_t>>(i);
        for (uint64_t value = 0; value < 1009; value++) {
            size_t before = vector.capacity();
            site_vector(vector, value);
            if (vector.capacity() == before)
                continue;
            took(&sites[VECTOR], vector.capacity() * sizeof value);
            if (before > 0)
                gave(&sites[VECTOR], before * sizeof value);
        }
    }
    for (size_t i = 0; i < 11; i++) {
        auto &string = immortal<std::string>(i);
        const size_t in_place = string.capacity();
        for (int length = 0; length < 2003; length++) {
            size_t before = string.capacity();
            site_string(string);
            if (string.capacity() == before)
                continue;
            took(&sites[STRING], string.capacity() + 1);
            if (before > in_place)
                gave(&sites[STRING], before + 1);
        }
    }
    for (size_t i = 0; i < 13; i++) {
        immortal<std::shared_ptr<Node>>(i) = site_shared();
        took(&sites[SHARED], 0);
    }
    auto &map = immortal<std::map<int, int>>(0);
    for (int i = 0; i < 109; i++) {
        site_map(map, i);
        took(&sites[MAP], 0);
    }
    for (size_t i = 0; i < 17; i++) {
        immortal<std::exception_ptr>(i) = site_exception((int)i);
        took(&sites[EXCEPTION], 0);
    }
    for (int i = 0; i < 113; i++) {
        int *p = site_template<int>(211);
        took(&sites[TEMPLATE], sizeof(int) * 211);
        if (i % 3 == 0) {
            delete[] p;
            gave(&sites[TEMPLATE], sizeof(int) * 211);
        }
    }
    auto &cache = immortal<leaky::Cache>(0);
    for (int i = 0; i < 127; i++) {
        /* Forgets the last one. */
        cache.insert();
        took(&sites[METHOD], sizeof(Node));
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
