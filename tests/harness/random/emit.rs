//! A plan written as C. The ledger has a line for each caller of each site, and every block carries its line with it.

use std::fmt::Write;

use super::plan::{Activity, Call, Plan, Sizes};

const PRELUDE: &str = r#"
#include "leaker.h"
#include <malloc.h>
#include <pthread.h>

void run(void);

#ifdef LIBRARY
"#;

/// What all programs share: blocks that know their ledger line and show that nobody wrote to them.
const BLOCKS: &str = r#"
static struct block made(int key, void *p, size_t n)
{
    struct block b = {p, n, &sites[key]};
    CHECK(p != NULL);
    took(b.site, n);
    if (n > 0)
        ((char *)p)[0] = ((char *)p)[n - 1] = (char)n;
    return b;
}

static void check(struct block b)
{
    if (b.n > 0)
        CHECK(((char *)b.p)[0] == (char)b.n && ((char *)b.p)[b.n - 1] == (char)b.n);
}

static void drop(struct block b)
{
    check(b);
    gave(b.site, b.n);
    free(b.p);
}
"#;

const AFTER_CALLERS: &str = r#"
/* More frames above a caller, of one function again and again. */
SITE static struct block descend(int depth, int key, size_t n)
{
    return depth > 0 ? descend(depth - 1, key, n) : make(key, n);
}

static unsigned long draw(unsigned long *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct block *blocks;
    int in, out;
};

static void put(struct queue *queue, struct block b)
{
    pthread_mutex_lock(&queue->lock);
    queue->blocks[queue->in++] = b;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

static struct block get(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->out == queue->in)
        pthread_cond_wait(&queue->filled, &queue->lock);
    struct block b = queue->blocks[queue->out++];
    pthread_mutex_unlock(&queue->lock);
    return b;
}
"#;

const MAIN: &str = r"
#endif

#ifdef MAIN
int main(void)
{
    ready();
    run();
    done();
    return 0;
}
#endif
";

/// The program of a plan.
pub fn source(plan: &Plan) -> String {
    let mut c = format!("/* Random program of seed {}: written by the test suite. */", plan.seed);
    c += PRELUDE;
    ledger(&mut c, plan);
    c += BLOCKS;
    for (index, call) in plan.sites.iter().enumerate() {
        site(&mut c, index, *call);
    }
    for caller in 0..plan.callers {
        for resizes in [false, true] {
            self::caller(&mut c, plan, caller, resizes);
        }
    }
    dispatch(&mut c, plan);
    c += AFTER_CALLERS;
    queues(&mut c, plan);
    for (index, activities) in plan.threads.iter().enumerate() {
        thread(&mut c, index, activities);
    }
    run(&mut c, plan.threads.len());
    c += MAIN;
    c
}

/// Writing to a String cannot fail.
macro_rules! put {
    ($c:expr, $($argument:tt)*) => { writeln!($c, $($argument)*).expect("a String takes everything") };
}

fn caller_name(caller: usize, resizes: bool) -> String {
    format!("{}_{caller:02}", if resizes { "resizer" } else { "caller" })
}

fn ledger(c: &mut String, plan: &Plan) {
    put!(c, "static struct site sites[] = {{");
    for key in &plan.keys {
        let caller = caller_name(key.caller, plan.sites[key.site].resizes());
        put!(c, "    {{\"{caller}/site_{:02}\"}},", key.site);
    }
    put!(c, "}};");
}

/// A site rounds `*n` to what it can ask for, and says so.
fn site(c: &mut String, index: usize, call: Call) {
    let old = if call.resizes() { "void *old, " } else { "" };
    put!(c, "\nSITE static void *site_{index:02}({old}size_t *n)\n{{");
    match call {
        Call::Malloc => put!(c, "    return malloc(*n);"),
        Call::ReallocNull => put!(c, "    return realloc(NULL, *n);"),
        Call::Realloc => put!(c, "    return realloc(old, *n);"),
        Call::Memalign(alignment) => put!(c, "    return memalign({alignment}, *n);"),
        Call::PosixMemalign(alignment) => {
            put!(c, "    void *p = NULL;\n    CHECK(posix_memalign(&p, {alignment}, *n) == 0);\n    return p;");
        }
        Call::AlignedAlloc(alignment) => {
            put!(c, "    *n = (*n / {alignment} + 1) * {alignment};\n    return aligned_alloc({alignment}, *n);");
        }
        Call::Calloc(elements) => {
            put!(c, "    size_t size = *n / {elements} + 1;\n    *n = size * {elements};");
            put!(c, "    return calloc({elements}, size);");
        }
        Call::ReallocarrayNull(elements) => {
            put!(c, "    size_t size = *n / {elements} + 1;\n    *n = size * {elements};");
            put!(c, "    return reallocarray(NULL, {elements}, size);");
        }
        Call::Reallocarray(elements) => {
            put!(c, "    size_t size = *n / {elements} + 1;\n    *n = size * {elements};");
            put!(c, "    return reallocarray(old, {elements}, size);");
        }
    }
    put!(c, "}}");
}

/// A function that calls some sites, by ledger line.
fn caller(c: &mut String, plan: &Plan, caller: usize, resizes: bool) {
    let name = caller_name(caller, resizes);
    let old = if resizes { "void *old, " } else { "" };
    let mut cases = String::new();
    for (index, key) in plan.keys.iter().enumerate() {
        if key.caller == caller && plan.sites[key.site].resizes() == resizes {
            let argument = if resizes { "old, " } else { "" };
            put!(cases, "    case {index}:\n        return site_{:02}({argument}n);", key.site);
        }
    }
    if !cases.is_empty() {
        put!(c, "\nSITE static void *{name}({old}int key, size_t *n)\n{{\n    switch (key) {{");
        put!(c, "{cases}    default:\n        return NULL;\n    }}\n}}");
    }
}

fn dispatch(c: &mut String, plan: &Plan) {
    for resizes in [false, true] {
        if resizes {
            put!(c, "\nSITE static struct block resize(struct block b, int key, size_t n)\n{{");
            put!(c, "    void *p = NULL;\n    check(b);\n    switch (key) {{");
        } else {
            put!(c, "\nSITE static struct block make(int key, size_t n)\n{{\n    void *p = NULL;\n    switch (key) {{");
        }
        for (index, key) in plan.keys.iter().enumerate() {
            if plan.sites[key.site].resizes() == resizes {
                let name = caller_name(key.caller, resizes);
                let argument = if resizes { "b.p, " } else { "" };
                put!(c, "    case {index}:\n        p = {name}({argument}key, &n);\n        break;");
            }
        }
        let gave = if resizes { "    CHECK(p != NULL);\n    gave(b.site, b.n);\n" } else { "" };
        put!(c, "    }}\n{gave}    return made(key, p, n);\n}}");
    }
}

fn queues(c: &mut String, plan: &Plan) {
    for (queue, capacity) in plan.queues.iter().enumerate() {
        put!(c, "static struct block queue_{queue}_blocks[{capacity}];");
        put!(c, "static struct queue queue_{queue} = {{PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,");
        put!(c, "                               queue_{queue}_blocks, 0, 0}};");
    }
}

fn size(sizes: Sizes) -> String {
    let Sizes { base, step, modulus } = sizes;
    format!("{base} + (size_t)(i % {modulus}) * {step}")
}

fn thread(c: &mut String, index: usize, activities: &[Activity]) {
    put!(c, "\nstatic void *thread_{index}(void *argument)\n{{\n    (void)argument;");
    for each in activities {
        activity(c, each);
    }
    put!(c, "    return NULL;\n}}");
}

fn activity(c: &mut String, activity: &Activity) {
    match activity {
        Activity::Leak { key, count, sizes, depth } => {
            put!(c, "    for (int i = 0; i < {count}; i++)\n        descend({depth}, {key}, {});", size(*sizes));
        }
        Activity::Churn { key, count, sizes, depth } => {
            put!(
                c,
                "    for (int i = 0; i < {count}; i++)\n        drop(descend(i % {}, {key}, {}));",
                depth + 1,
                size(*sizes)
            );
        }
        Activity::Cache { keys: [first, second], count, capacity, sizes } => {
            put!(c, "    {{\n        struct block cache[{capacity}] = {{{{0}}}};");
            put!(c, "        for (int i = 0; i < {count}; i++) {{");
            put!(c, "            struct block *b = &cache[i % {capacity}];");
            put!(c, "            if (b->p)\n                drop(*b);");
            put!(c, "            *b = make(i % 3 ? {first} : {second}, {});\n        }}\n    }}", size(*sizes));
        }
        Activity::Chain { key, resize, count, links, keep, sizes } => {
            put!(c, "    for (int i = 0; i < {count}; i++) {{");
            put!(c, "        struct block b = make({key}, {});", size(*sizes));
            put!(c, "        for (int link = 2; link < {}; link++)", links + 2);
            put!(c, "            b = resize(b, {resize}, link % 3 ? b.n + b.n / (size_t)link + 1 : b.n / 2 + 1);");
            put!(c, "        if (i % {keep})\n            drop(b);\n    }}");
        }
        Activity::Mix { keys: [first, second, third], resize, count, seed, sizes } => {
            put!(c, "    {{\n        static const int keys[] = {{{first}, {second}, {third}}};");
            put!(c, "        struct block held[37] = {{{{0}}}};\n        unsigned long state = {seed}u;");
            put!(c, "        for (int i = 0; i < {count}; i++) {{");
            put!(c, "            struct block *b = &held[draw(&state) % COUNT(held)];");
            put!(c, "            size_t n = {};", size(*sizes));
            put!(c, "            if (!b->p) {{\n                *b = make(keys[draw(&state) % COUNT(keys)], n);");
            put!(c, "            }} else if (draw(&state) % 3 == 0) {{\n                *b = resize(*b, {resize}, n);");
            put!(c, "            }} else {{\n                drop(*b);\n                b->p = NULL;\n            }}");
            put!(c, "        }}\n    }}");
        }
        Activity::Produce { queue, key, count, sizes } => {
            put!(
                c,
                "    for (int i = 0; i < {count}; i++)\n        put(&queue_{queue}, make({key}, {}));",
                size(*sizes)
            );
        }
        Activity::Consume { queue, count, keep } => {
            put!(c, "    for (int i = 0; i < {count}; i++) {{\n        struct block b = get(&queue_{queue});");
            put!(c, "        if (i % {keep})\n            drop(b);\n    }}");
        }
    }
}

fn run(c: &mut String, threads: usize) {
    put!(c, "\nvoid run(void)\n{{\n    pthread_t threads[{threads}];");
    for index in 0..threads {
        put!(c, "    CHECK(pthread_create(&threads[{index}], NULL, thread_{index}, NULL) == 0);");
    }
    put!(c, "    for (int i = 0; i < {threads}; i++)\n        CHECK(pthread_join(threads[i], NULL) == 0);");
    put!(c, "    print_sites(sites, COUNT(sites));\n}}");
}
