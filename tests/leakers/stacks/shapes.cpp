/*
 * Stacks of C++: operators, exceptions and their landing pads, virtual calls and thunks, templates, callbacks of the
 * library's algorithms, regular expressions, streams, threads.
 */
#include "../leaker.h"
#include <algorithm>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#define AFTER(p) __asm__ volatile("" ::"r"(p) : "memory")

static volatile unsigned sum;

SITE static char *take(size_t n)
{
    char *p = new char[n];
    AFTER(p);
    return p;
}

/* --- exceptions -------------------------------------------------------------------------------------------------- */

struct Unwound {
    size_t n;
    /* Runs in a landing pad, while an exception passes. */
    SITE ~Unwound() { AFTER(take(n)); }
};

SITE static void thrower(unsigned depth, bool library)
{
    Unwound unwound{depth + 1};
    if (depth > 0)
        thrower(depth - 1, library);
    else if (library)
        AFTER(std::vector<int>().at(depth));
    else
        throw std::string(100, 'x');
    AFTER(&unwound);
}

SITE static void rethrower(unsigned depth)
{
    try {
        thrower(depth, depth % 2 == 0);
    } catch (...) {
        AFTER(take(7));
        std::throw_with_nested(std::runtime_error("a message that needs a block of its own"));
    }
}

SITE static void catcher(unsigned depth)
{
    try {
        rethrower(depth);
    } catch (const std::exception &error) {
        AFTER(take(strlen(error.what())));
        try {
            std::rethrow_if_nested(error);
        } catch (const std::string &text) {
            AFTER(take(text.size()));
        } catch (const std::out_of_range &) {
            AFTER(take(11));
        }
    }
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

struct Left {
    virtual ~Left() = default;
    virtual char *left(size_t n) = 0;
    char bytes[40];
};

struct Right {
    virtual ~Right() = default;
    virtual char *right(size_t n) = 0;
};

/* A call by Right goes through a thunk, which jumps. */
struct Both : Left, virtual Right {
    SITE char *left(size_t n) override { return take(n); }
    SITE char *right(size_t n) override { return new char[n + 1]; }
};

template <unsigned N> SITE static char *nested(size_t n)
{
    if constexpr (N == 0) {
        return take(n);
    } else {
        char local[N * 16];
        memset(local, 1, sizeof local);
        char *p = nested<N - 1>(n + static_cast<size_t>(local[N]));
        AFTER(local);
        return p;
    }
}

struct alignas(256) Wide {
    char bytes[512];
};

SITE static void calls()
{
    Both *both = new Both;
    AFTER(both->left(13));
    Right *right = both;
    AFTER(right->right(17));
    AFTER(nested<9>(19));
    std::function<char *(size_t)> function = [both](size_t n) { return both->right(n); };
    AFTER(function(23));
    function = std::bind(&Both::left, both, std::placeholders::_1);
    AFTER(function(29));
    AFTER(new Wide);
    AFTER(new (std::nothrow) Both);
    auto generic = [](auto self, unsigned depth) -> char * { return depth ? self(self, depth - 1) : take(31); };
    AFTER(generic(generic, 5));
}

/* --- library ----------------------------------------------------------------------------------------------------- */

struct Key {
    std::string text;
    SITE bool operator<(const Key &other) const
    {
        if (++sum % 17 == 0)
            AFTER(take(37));
        return text < other.text;
    }
};

SITE static void algorithms()
{
    std::vector<Key> keys;
    for (unsigned i = 0; i < 15; i++)
        keys.push_back({std::to_string(i * 7919 % 1009) + " and more than fits into a string object"});
    std::vector<Key> copy = keys;
    std::sort(keys.begin(), keys.end());
    std::stable_sort(copy.begin(), copy.end(), [](const Key &a, const Key &b) { return b < a; });
    std::map<Key, std::list<int>> map;
    for (const Key &key : copy)
        map[key].push_back(1);
    std::unordered_map<std::string, std::shared_ptr<Key>> hashed;
    for (const Key &key : keys)
        hashed.emplace(key.text, std::make_shared<Key>(key));
    std::for_each(map.begin(), map.end(), [](const auto &pair) {
        if (pair.second.size() % 2)
            sum = sum + 1;
    });
}

SITE static void expressions()
{
    std::regex expression("(a|b)*c([0-9]{1,3}|x+)?(\\w+)\\s*=\\s*\"([^\"]*)\"");
    std::string text = "ababac12name = \"value\"; abx";
    std::smatch match;
    CHECK(std::regex_search(text, match, expression));
    text = std::regex_replace(text, std::regex("[aeiou]"), "<$&>");
    AFTER(take(text.size()));
}

SITE static void streams()
{
    std::ostringstream out;
    for (int i = 0; i < 15; i++)
        out << i << ' ' << i * 0.5 << '\n';
    std::istringstream in(out.str());
    std::string line;
    while (std::getline(in, line) && line.size() < 5)
        AFTER(take(line.size() + 1));
    try {
        in.exceptions(std::ios::failbit);
        int n;
        in.str("not a number");
        in >> n;
    } catch (const std::ios_base::failure &) {
        AFTER(take(41));
    }
}

SITE static void threads()
{
    std::thread([] { catcher(3); }).join();
    std::packaged_task<char *()> task([] { return take(43); });
    std::future<char *> result = task.get_future();
    std::thread(std::move(task)).join();
    AFTER(result.get());
    std::once_flag once;
    std::call_once(once, [] { AFTER(take(47)); });
}

int main()
{
    /* The first exception loads the unwinder's tables. */
    catcher(2);
    ready();
    for (unsigned depth = 0; depth < 8; depth++)
        catcher(depth);
    calls();
    algorithms();
    expressions();
    streams();
    threads();
    done();
    return 0;
}
