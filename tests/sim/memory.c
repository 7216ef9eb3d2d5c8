// SPDX-License-Identifier: Apache-2.0
// The memory that the core sees. It is compiled with the instrumentation of a race detector, whose functions are these:
// every atomic is a scheduling point, plain accesses are one now and then.
//
// Each CPU has a store buffer, as the architectures allow: an atomic store that is not sequentially consistent waits
// there for a while, and is seen by its own CPU only. Stores leave in any order, but those to one address in theirs,
// and one that releases after all that came before. A fence, a releasing read-modify-write, and a kick empty it. So a
// fence that is missing shows. Loads are not reordered.
#include <string.h>

#include "page.h"
#include "sim.h"

enum { BUFFER_MAX = 8 };

struct store {
    void *at;
    u64 value;
    u8 size;
    bool release;
};

static struct buffer {
    struct store store[BUFFER_MAX];
    u32 count;
} buffers[BOARD_MAX_CPUS];

static bool in_use; // some buffer may hold something
static u32 countdown;
bool sim_faults;
void *sim_pc;
static u32 allocations;

static struct buffer *own(void) {
    return &buffers[host_cpu_current->id];
}

static void write_out(const struct store *s) {
    memcpy(s->at, &s->value, s->size); // little-endian, as all that we run on
}

static void remove_at(struct buffer *b, u32 i) {
    write_out(&b->store[i]);
    b->count--;
    memmove(&b->store[i], &b->store[i + 1], (b->count - i) * sizeof(b->store[0]));
}

static void drain(struct buffer *b) {
    while (b->count)
        remove_at(b, 0);
}

static void drain_all(void) {
    for (u32 i = 0; i < cpu_count; i++)
        drain(&buffers[i]);
    in_use = false;
}

static bool overlaps(const struct store *s, const void *p, size_t size) {
    const char *a = s->at, *b = p;
    return a < b + size && b < a + s->size;
}

// The calling CPU's stores to these bytes, and what one of them that releases must come after.
static void drain_to(const void *p, size_t size) {
    struct buffer *b = own();
    for (u32 i = 0; i < b->count;) {
        if (!overlaps(&b->store[i], p, size)) {
            i++;
        } else if (b->store[i].release) {
            for (u32 n = i + 1; n; n--)
                remove_at(b, 0);
            i = 0;
        } else {
            remove_at(b, i);
        }
    }
}

static void drain_one(struct buffer *b) {
    if (!b->count)
        return;
    u32 i = rnd(b->count);
    if (b->store[i].release)
        i = 0;
    for (u32 k = 0; k < i; k++)
        if (b->store[k].at == b->store[i].at || b->store[k].release)
            i = 0;
    remove_at(b, i);
}

static bool buffering(void) {
    if (sim_style.linger && host_machine.active && !host_machine.stopping)
        return true;
    if (in_use)
        drain_all();
    return false;
}

void sim_memory_init(void) {
    memset(buffers, 0, sizeof(buffers));
    in_use = sim_faults = false;
    countdown = sim_style.access_every;
    allocations = 0;
}

void sim_memory_step(void) {
    if (!sim_style.linger)
        return;
    if (own()->count && one_in(sim_style.linger))
        drain_one(own());
    if (one_in(sim_style.linger))
        drain_one(&buffers[rnd(cpu_count)]);
}

bool sim_memory_waits(void) {
    return own()->count;
}

void sim_memory_barrier(void) {
    drain(own());
}

// ── The instrumentation ─────────────────────────────────────────────────────────────────────────────────────────────
enum { RELAXED, CONSUME, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };

static u64 buffered_load(const volatile void *at, u8 size) {
    u64 value = 0;
    (void)buffering();
    memcpy(&value, (const void *)(uintptr_t)at, size);
    if (!in_use)
        return value;
    const struct buffer *b = own();
    for (u32 i = 0; i < b->count; i++)
        if (b->store[i].at == at)
            value = b->store[i].value;
    return value;
}

// What lies on a stack is reused by code that is not instrumented: no store to it may be on its way.
static bool lasts(const volatile void *at) {
    extern char end[], __data_start[];
    const struct region *ram = &host_machine.board.memory[0];
    return (uintptr_t)at - ram->base < ram->size ||
           ((const char *)(uintptr_t)at >= __data_start && (const char *)(uintptr_t)at < end);
}

static void buffered_store(volatile void *at, u64 value, u8 size, int order) {
    struct store s = {(void *)(uintptr_t)at, value, size, order == RELEASE};
    if (!buffering() || order == SEQ_CST || !lasts(at)) {
        drain(own());
        write_out(&s);
        return;
    }
    struct buffer *b = own();
    if (b->count == BUFFER_MAX)
        remove_at(b, 0);
    b->store[b->count++] = s;
    in_use = true;
}

static void before_rmw(const volatile void *at, u8 size, int order) {
    if (!buffering())
        return;
    if (order >= RELEASE)
        drain(own());
    else
        drain_to((const void *)(uintptr_t)at, size);
}

static void point(void *pc) {
    sim_pc = pc;
    host_schedule(WHY_ATOMIC);
}

#define HERE __builtin_return_address(0)
#define RMW(bits, type, name, operation)                                                                               \
    type __tsan_atomic##bits##_##name(volatile type *at, type v, int order);                                           \
    type __tsan_atomic##bits##_##name(volatile type *at, type v, int order) {                                          \
        point(HERE);                                                                                                   \
        before_rmw(at, sizeof(type), order);                                                                           \
        type old = *at;                                                                                                \
        *at = (type)(operation);                                                                                       \
        return old;                                                                                                    \
    }
#define ATOMICS(bits, type)                                                                                            \
    type __tsan_atomic##bits##_load(const volatile type *at, int order);                                               \
    type __tsan_atomic##bits##_load(const volatile type *at, int order) {                                              \
        (void)order;                                                                                                   \
        point(HERE);                                                                                                   \
        return (type)buffered_load(at, sizeof(type));                                                                  \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *at, type v, int order);                                            \
    void __tsan_atomic##bits##_store(volatile type *at, type v, int order) {                                           \
        point(HERE);                                                                                                   \
        buffered_store(at, v, sizeof(type), order);                                                                    \
    }                                                                                                                  \
    RMW(bits, type, exchange, v)                                                                                       \
    RMW(bits, type, fetch_add, old + v)                                                                                \
    RMW(bits, type, fetch_sub, old - v)                                                                                \
    RMW(bits, type, fetch_and, old &v)                                                                                 \
    RMW(bits, type, fetch_or, old | v)                                                                                 \
    RMW(bits, type, fetch_xor, old ^ v)                                                                                \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type c, type v, int order, int fail);           \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type c, type v, int order, int fail) {          \
        (void)fail;                                                                                                    \
        point(HERE);                                                                                                   \
        before_rmw(at, sizeof(type), order);                                                                           \
        type old = *at;                                                                                                \
        if (old == c)                                                                                                  \
            *at = v;                                                                                                   \
        return old;                                                                                                    \
    }

ATOMICS(8, u8)
ATOMICS(16, u16)
ATOMICS(32, u32)
ATOMICS(64, u64)

void __tsan_init(void);
void __tsan_init(void) {
}

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) {
    point(HERE);
    if (order >= RELEASE)
        drain(own());
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order) {
    (void)order;
}

// A plain access: in program order with the CPU's own buffered stores.
static void access(const void *p, size_t size, void *pc) {
    if (in_use && own()->count)
        drain_to(p, size);
    if (!countdown || host_machine.picking || !host_machine.active || --countdown)
        return;
    countdown = 1 + rnd(2 * sim_style.access_every);
    sim_pc = pc;
    host_schedule(WHY_ACCESS);
}

#define ACCESS(name, bytes)                                                                                            \
    void __tsan_##name(void *p);                                                                                       \
    void __tsan_##name(void *p) {                                                                                      \
        access(p, bytes, HERE);                                                                                        \
    }
ACCESS(read1, 1)
ACCESS(read2, 2)
ACCESS(read4, 4)
ACCESS(read8, 8)
ACCESS(read16, 16)
ACCESS(write1, 1)
ACCESS(write2, 2)
ACCESS(write4, 4)
ACCESS(write8, 8)
ACCESS(write16, 16)
ACCESS(unaligned_read2, 2)
ACCESS(unaligned_read4, 4)
ACCESS(unaligned_read8, 8)
ACCESS(unaligned_read16, 16)
ACCESS(unaligned_write2, 2)
ACCESS(unaligned_write4, 4)
ACCESS(unaligned_write8, 8)
ACCESS(unaligned_write16, 16)

void *__tsan_memset(void *to, int byte, size_t size);
void *__tsan_memset(void *to, int byte, size_t size) {
    access(to, size, HERE);
    return memset(to, byte, size);
}

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size) {
    access(to, size, HERE);
    access(from, size, HERE);
    return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size) {
    access(to, size, HERE);
    access(from, size, HERE);
    return memmove(to, from, size);
}

// ── The allocator (--wrap) ──────────────────────────────────────────────────────────────────────────────────────────
enum { FREED = 0xa5 };

void *__real_page_alloc(u32 order);
void *__wrap_page_alloc(u32 order);
void __real_page_free(void *p, u32 order);
void __wrap_page_free(void *p, u32 order);
u32 __real_page_alloc_blocks(u32 max_blocks, pa_t *base);
u32 __wrap_page_alloc_blocks(u32 max_blocks, pa_t *base);
void *__real_stack_alloc(void);
void *__wrap_stack_alloc(void);

static bool fails(void) {
    if (!sim_faults)
        return false;
    allocations++;
    bool now = allocations == sim_style.fail_at || one_in(sim_style.fail_in);
    if (now) {
        sim_result->failed_allocations++;
        sim_note("allocation %llu fails", allocations, 0, 0);
    }
    return now;
}

void *__wrap_page_alloc(u32 order) {
    return fails() ? NULL : __real_page_alloc(order);
}

// Whoever still looks at it does not see what he expects.
void __wrap_page_free(void *p, u32 order) {
    memset(p, FREED, PAGE_SIZE << order);
    __real_page_free(p, order);
}

void *__wrap_stack_alloc(void) {
    return fails() ? NULL : __real_stack_alloc();
}

u32 __wrap_page_alloc_blocks(u32 max_blocks, pa_t *base) {
    if (fails())
        return 0;
    if (sim_faults && max_blocks > 1 && one_in(4)) // memory is in pieces
        max_blocks = 1 + rnd(max_blocks - 1);
    return __real_page_alloc_blocks(max_blocks, base);
}
