// SPDX-License-Identifier: Apache-2.0
// The vector registers: a hart finds them empty, and keeps them from harts that share its CPU. Where there are none,
// nothing of them is there.
#include "guest.h"

enum : u64 { VS_OFF = 0, VS_INITIAL = 1, VS_CLEAN = 2, VS_DIRTY = 3, VS_SHIFT = 9 };
enum { REGISTERS = 32, VLENB_MAX = 256, ROUNDS = 500, HYPERCALL_YIELD = 3 };
#define VILL (1ull << 63)

struct vectors { // vector_put, vector_get
    u64 vstart, vcsr, vl, vtype;
    u8 v[REGISTERS * VLENB_MAX];
};

void vector_put(const struct vectors *from);
void vector_get(struct vectors *to);
void vector_add(void);

__asm__(".text\n"
        ".option push\n"
        ".option arch, +v\n"
        "vector_put:\n"
        "   csrw    vstart, zero\n"
        "   csrr    t4, vlenb\n"
        "   addi    t5, a0, 32\n"
        "   slli    t4, t4, 3\n"
        "   vl8re8.v v0, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vl8re8.v v8, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vl8re8.v v16, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vl8re8.v v24, (t5)\n"
        "   ld      t0, 16(a0)\n"
        "   ld      t1, 24(a0)\n"
        "   vsetvl  zero, t0, t1\n"
        "   ld      t0, 8(a0)\n"
        "   csrw    vcsr, t0\n"
        "   ld      t0, 0(a0)\n"
        "   csrw    vstart, t0\n"
        "   ret\n"
        "vector_get:\n"
        "   csrr    t0, vstart\n"
        "   sd      t0, 0(a0)\n"
        "   csrr    t1, vcsr\n"
        "   sd      t1, 8(a0)\n"
        "   csrr    t1, vl\n"
        "   sd      t1, 16(a0)\n"
        "   csrr    t1, vtype\n"
        "   sd      t1, 24(a0)\n"
        "   csrw    vstart, zero\n"
        "   csrr    t4, vlenb\n"
        "   addi    t5, a0, 32\n"
        "   slli    t4, t4, 3\n"
        "   vs8r.v  v0, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vs8r.v  v8, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vs8r.v  v16, (t5)\n"
        "   add     t5, t5, t4\n"
        "   vs8r.v  v24, (t5)\n"
        "   csrw    vstart, t0\n"
        "   ret\n"
        "vector_add:\n" // every byte of v8…v15 by one
        "   vsetvli t0, zero, e8, m8, ta, ma\n"
        "   vadd.vi v8, v8, 1\n"
        "   ret\n"
        ".option pop\n");

static u64 vlenb, harts;
static struct vectors wanted[CPUS_MAX], found[CPUS_MAX];
static volatile u64 begun, finished, wrong[CPUS_MAX], not_empty[CPUS_MAX];

static void vector_state(u64 vs) {
    csr_clear(sstatus, VS_DIRTY << VS_SHIFT);
    csr_set(sstatus, vs << VS_SHIFT);
}

static u64 vector_state_now(void) {
    return csr_read(sstatus) >> VS_SHIFT & VS_DIRTY;
}

static bool same(const struct vectors *a, const struct vectors *b) {
    if (a->vstart != b->vstart || a->vcsr != b->vcsr || a->vl != b->vl || a->vtype != b->vtype)
        return false;
    for (u64 i = 0; i < REGISTERS * vlenb; i++)
        if (a->v[i] != b->v[i])
            return false;
    return true;
}

// Another value in every byte of every hart; vtype e8, m1, and half of what it has room for.
static void choose(struct vectors *w, u64 hart) {
    w->vstart = hart + 1;
    w->vcsr = hart % 8;
    w->vl = vlenb / 2 + hart % 4;
    w->vtype = 0;
    for (u64 i = 0; i < REGISTERS * vlenb; i++)
        w->v[i] = (u8)(i * 7 + hart * 59 + 1);
}

static void give_way(u64 round) {
    if (round % 4) {
        sbi(EID_BULKHEAD, HYPERCALL_YIELD, 0, 0, 0);
        return;
    }
    csr_set(sie, 1 << STI);
    set_timer(now() + ticks_of_ms(1) / 10);
    wait_for_interrupt();
    set_timer(~0ull);
    csr_clear(sie, 1 << STI);
}

static void work(u64 hart) {
    static struct vectors empty = {.vtype = VILL};
    vector_state(VS_INITIAL);
    vector_get(&found[hart]);
    not_empty[hart] += !same(&found[hart], &empty);
    choose(&wanted[hart], hart);
    vector_put(&wanted[hart]);
    __atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
    while (begun < harts)
        give_way(1);
    for (u64 round = 0; round < ROUNDS; round++) {
        give_way(round);
        vector_get(&found[hart]);
        wrong[hart] += !same(&found[hart], &wanted[hart]);
        if (round % 8 == hart % 8) { // a change now and then; else they stay clean
            wanted[hart].v[vlenb * 3 + hart]++;
            vector_put(&wanted[hart]);
        }
        if (round % 8 == 5)
            vector_state(VS_CLEAN); // the guest's own mark says nothing of what the hypervisor has to keep
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
}

void secondary_main(u64 context) {
    work(context);
    while (finished < harts)
        give_way(1);
}

static bool trapped(void (*what)(void)) {
    trap.count = 0;
    what();
    return trap.count >= 1 && trap.cause == CAUSE_ILLEGAL;
}

static void off(void) {
    vector_state(VS_OFF);
    CHECK("vector_instructions_are_illegal_while_they_are_off", trapped(vector_add), "%u traps, cause %u", trap.count,
          trap.cause);
}

static void marks(void) {
    vector_state(VS_CLEAN);
    trap.count = 0;
    vector_add();
    CHECK("vector_state_is_dirty_after_a_change", trap.count == 0 && vector_state_now() == VS_DIRTY, "%u traps, VS %u",
          trap.count, vector_state_now());
}

static void together(void) {
    u64 all_wrong = 0, all_not_empty = 0;
    for (u64 hart = 1; hart < CPUS_MAX && cpu_start(hart, hart) == 0; hart++)
        harts = hart + 1;
    work(0);
    bool ended = wait_for(&finished, harts, 60000);
    for (u64 hart = 0; hart < harts; hart++) {
        all_wrong += wrong[hart];
        all_not_empty += not_empty[hart];
    }
    CHECK("all_harts_come_to_an_end", ended, "%u of %u", finished, harts);
    CHECK("a_hart_begins_with_empty_vector_registers", all_not_empty == 0, "%u of %u harts", all_not_empty, harts);
    CHECK("harts_keep_their_vector_registers", all_wrong == 0, "%u times on %u harts", all_wrong, harts);
    CHECK("all_of_them_were_used", trap.count == 0, "%u traps, cause %u", trap.count, trap.cause);
}

void guest_main(u64 dtb) {
    (void)dtb;
    harts = 1;
    set_timer(~0ull);
    off();
    vector_state(VS_DIRTY);
    if (vector_state_now() == VS_OFF || trapped(vector_add)) {
        say("vector: there are none\n");
        return;
    }
    trap.count = 0;
    __asm__ volatile("csrr %0, 0xc22" : "=r"(vlenb));
    say("vector: registers of %u bytes\n", vlenb);
    // The first hart's registers are not empty any more: it starts with what a new one would have.
    static const struct vectors empty = {.vtype = VILL};
    vector_put(&empty);
    trap.count = 0;
    together();
    marks();
}
