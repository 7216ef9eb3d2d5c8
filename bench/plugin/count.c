// SPDX-License-Identifier: Apache-2.0
// A QEMU plugin that separates the hypervisor's instructions from everybody else's by where their code lies in physical
// memory, and writes what it sees to a file, a line an event: "KIND INSTRUCTIONS A B".
//
//   out=FILE     where to
//   hyp=ADDR     where the hypervisor's image lies, and
//   size=BYTES   how much memory it takes
//   ram=BYTES    of the guest
//   profile=...  instead of events, at the end: "at OFFSET COUNT" for each of the hypervisor's instructions that was
//                executed, and "operations COUNT"; marked: between begin and end marks, all: after the guest's first
//                instruction
//
// Events: guest (its first instruction), user (its first in user mode), mark (see bench/guest/marks.h; B: elements of
// repeated instructions so far that are not counted), end; and took: what was executed between the last begin mark and
// an end mark, on all CPUs, by the hypervisor, the firmware and guests. The count is of instructions executed one by
// one: with -icount a block may be left in its middle and resumed.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../guest/marks.h"
#include "qemu_plugin.h"

#define EXPORT [[gnu::visibility("default")]]
EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_version = 4;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

enum { PAGE_SHIFT = 12, RAM_PAGES = 1 << 21, ZERO_BYTES = 64, REGISTERS = 32 };
static const uint64_t MIB = 1 << 20;

// What differs between the machines; a guest has its RAM where the machine has it.
struct target {
    const char *name;
    uint64_t ram_base;
    bool firmware;                              // between the start of memory and the hypervisor
    uint64_t user_end;                          // programs lie below it, 0: anywhere but where memory is
    uint32_t (*mark)(uint64_t code);            // the mark that an instruction is, or anything else
    bool (*zero)(uint64_t code, uint32_t *reg); // it zeroes the ZERO_BYTES around the address in a register
    uint32_t (*repeats)(uint64_t code);         // the bytes of an element if it is a repeated string instruction, or 0
    const char *registers[REGISTERS];
};

// MOVZ XZR, #mark
static uint32_t aarch64_mark(uint64_t code) {
    return (code & 0x1f) == 0x1f ? ((uint32_t)code - 0xd280001f) >> 5 : 0;
}
// DC ZVA, Xn
static bool aarch64_zero(uint64_t code, uint32_t *reg) {
    *reg = code & 0x1f;
    return ((uint32_t)code & ~0x1fu) == 0xd50b7420;
}
// LUI x0, mark
static uint32_t riscv64_mark(uint64_t code) {
    return (code & 0xfff) == 0x037 ? (uint32_t)code >> 12 : 0;
}
// CBO.ZERO (rs1)
static bool riscv64_zero(uint64_t code, uint32_t *reg) {
    *reg = code >> 15 & 0x1f;
    return ((uint32_t)code & ~(0x1fu << 15)) == 0x0040200f;
}
// NOP mark(RAX), and in 16-bit code mark(BX + SI)
static uint32_t x86_64_mark(uint64_t code) {
    return (code & 0xffffff) == 0x801f0f ? (uint32_t)(code >> 24) : 0;
}
static bool no_zero(uint64_t code, uint32_t *reg) {
    (void)code, (void)reg;
    return false;
}
static uint32_t no_repeats(uint64_t code) {
    (void)code;
    return 0;
}
// REP MOVS, STOS
static uint32_t x86_64_repeats(uint64_t code) {
    if ((code & 0xff) != 0xf3)
        return 0;
    code >>= 8;
    bool wide = (code & 0xf8) == 0x48;
    code = wide ? code >> 8 & 0xff : code & 0xff;
    if ((code & ~1ull) != 0xa4 && (code & ~1ull) != 0xaa)
        return 0;
    return !(code & 1) ? 1 : wide ? 8 : 4;
}

static const struct target targets[] = {
    {"aarch64", 0x40000000, false, 0, aarch64_mark, aarch64_zero, no_repeats, {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",
                                                                               "x6",  "x7",  "x8",  "x9",  "x10", "x11",
                                                                               "x12", "x13", "x14", "x15", "x16", "x17",
                                                                               "x18", "x19", "x20", "x21", "x22", "x23",
                                                                               "x24", "x25", "x26", "x27", "x28", "x29",
                                                                               "x30", ""}},
    {"riscv64", 0x80000000, true, 0, riscv64_mark, riscv64_zero, no_repeats, {"zero", "ra", "sp",  "gp",  "tp", "t0",
                                                                              "t1",   "t2", "fp",  "s1",  "a0", "a1",
                                                                              "a2",   "a3", "a4",  "a5",  "a6", "a7",
                                                                              "s2",   "s3", "s4",  "s5",  "s6", "s7",
                                                                              "s8",   "s9", "s10", "s11", "t3", "t4",
                                                                              "t5",   "t6"}},
    {"x86_64", 0, true, 1ull << 47, x86_64_mark, no_zero, x86_64_repeats, {}},
};
static const struct target *target;

static FILE *out;
static uint64_t hyp_base, hyp_size, guest_ram;
static bool profile, profile_all;

enum who { HYPERVISOR, FIRMWARE, GUEST, WHO_COUNT };
static uint64_t executed[WHO_COUNT]; // with -icount the CPUs run in turn, in one thread
static uint64_t begun[WHO_COUNT];    // what `executed` was at the last begin mark
static bool operation_runs;
static const uint8_t *host_ram; // where QEMU keeps the first byte of memory
static bool hyp_runs, guest_ran, kernel_ran, user_ran, marked;
static uint64_t guest_base; // of the guest's memory, physical
static bool written[RAM_PAGES];
static uint64_t *histogram, operations;
static uint64_t more; // elements of repeated instructions that are not counted
// A repeated instruction, and the one that was executed last, if it was one.
struct repeated {
    uint64_t *count;
    uint32_t size, bytes;
    bool marked_only;
};
static const struct repeated *repeating;
static struct qemu_plugin_register *registers[REGISTERS];
static GByteArray *value;

// ── What the hypervisor writes until the guest runs ─────────────────────────────────────────────────────────────────
static void note_written(uint64_t at, uint64_t size) {
    for (uint64_t page = at >> PAGE_SHIFT; page <= (at + size - 1) >> PAGE_SHIFT; page++)
        if (page >= target->ram_base >> PAGE_SHIFT && page - (target->ram_base >> PAGE_SHIFT) < RAM_PAGES)
            written[page - (target->ram_base >> PAGE_SHIFT)] = true;
}

// Its virtual addresses are physical ones.
static void on_store(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *arg) {
    (void)cpu, (void)arg;
    if (!guest_ran)
        note_written(vaddr, 1ull << qemu_plugin_mem_size_shift(info));
}

// Zeroing a whole block is no store to a plugin.
static void on_zero(unsigned cpu, void *arg) {
    (void)cpu;
    uintptr_t number = (uintptr_t)arg;
    if (guest_ran || number >= REGISTERS || !registers[number])
        return;
    g_byte_array_set_size(value, 0);
    uint64_t at = 0;
    if (qemu_plugin_read_register(registers[number], value) != sizeof(at))
        return;
    memcpy(&at, value->data, sizeof(at));
    note_written(at & ~(uint64_t)(ZERO_BYTES - 1), ZERO_BYTES);
}

static void on_cpu(qemu_plugin_id_t id, unsigned cpu) {
    (void)id;
    if (cpu != 0)
        return;
    GArray *all = qemu_plugin_get_registers();
    const qemu_plugin_reg_descriptor *d = (const void *)all->data;
    for (unsigned i = 0; i < all->len; i++)
        for (unsigned number = 0; number < REGISTERS; number++)
            if (target->registers[number] && strcmp(d[i].name, target->registers[number]) == 0)
                registers[number] = d[i].handle;
    value = g_byte_array_new();
}

// How much was written outside of the guest's memory, and inside.
static void count_written(uint64_t *own, uint64_t *guests) {
    *own = *guests = 0;
    for (uint64_t page = 0; page < RAM_PAGES; page++) {
        uint64_t at = target->ram_base + (page << PAGE_SHIFT);
        bool inside = at >= guest_base && at - guest_base < guest_ram;
        if (written[page])
            *(inside ? guests : own) += 1 << PAGE_SHIFT;
    }
}

// ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void event(const char *kind, uint64_t a, uint64_t b) {
    if (!profile)
        fprintf(out, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", kind, executed[HYPERVISOR], a, b);
    fflush(out);
}

// Called before a block of the guest's is translated: that is, before it runs for the first time.
static void on_guest_block(uint64_t pa, uint64_t va) {
    if (!guest_ran) {
        guest_base = pa - (va - target->ram_base); // its MMU is off
        uint64_t own, guests;
        count_written(&own, &guests);
        event("guest", own, guests);
        guest_ran = true;
        marked = profile_all;
    }
    kernel_ran = kernel_ran || va >> 48 == 0xffff;
    // Low addresses are the kernel's own only where its memory is mapped one to one.
    bool user =
        target->user_end ? va < target->user_end : va >> 48 == 0 && (va < target->ram_base || va >= 64 * 1024 * MIB);
    if (kernel_ran && !user_ran && user) {
        user_ran = true;
        event("user", va, 0);
    }
}

static void took(void) {
    uint64_t by[WHO_COUNT];
    for (int who = 0; who < WHO_COUNT; who++)
        by[who] = executed[who] - begun[who];
    if (!profile)
        fprintf(out, "took %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", by[HYPERVISOR], by[FIRMWARE], by[GUEST]);
}

static void on_mark(unsigned cpu, void *arg) {
    (void)cpu;
    uintptr_t which = (uintptr_t)arg;
    if (which == MARK_BEGIN) {
        operations += !marked;
        marked = operation_runs = true;
        for (int who = 0; who < WHO_COUNT; who++)
            begun[who] = executed[who];
    } else if (which == MARK_END) {
        if (operation_runs)
            took();
        marked = operation_runs = false;
    } else {
        event("mark", which, more);
        operations += which == MARK_RESET;
    }
}

static void on_profiled(unsigned cpu, void *arg) {
    (void)cpu;
    repeating = NULL;
    if (marked)
        ++*(uint64_t *)arg;
}

// ── Translation ─────────────────────────────────────────────────────────────────────────────────────────────────────
static void on_executed(unsigned cpu, void *arg) {
    (void)cpu;
    repeating = NULL;
    ++*(uint64_t *)arg;
}

// QEMU executes the elements of a repeated instruction one by one. The first one counts, and from then on one in 64
// bytes: as a DC ZVA or a CBO.ZERO does, and more than on a processor, where all of it is one instruction.
static void on_repeated(unsigned cpu, void *arg) {
    (void)cpu;
    struct repeated *r = arg;
    if (repeating != r)
        r->bytes = ZERO_BYTES;
    repeating = r;
    if (r->bytes >= ZERO_BYTES) {
        r->bytes = 0;
        if (!r->marked_only || marked)
            ++*r->count;
    } else {
        more++;
    }
    r->bytes += r->size;
}

// It stays for good: it may run once more.
static void count_repeated(struct qemu_plugin_insn *insn, uint32_t size, uint64_t *counter, bool marked_only) {
    struct repeated *r = calloc(1, sizeof(*r));
    if (!r)
        return;
    *r = (struct repeated){counter, size, 0, marked_only};
    qemu_plugin_register_vcpu_insn_exec_cb(insn, on_repeated, QEMU_PLUGIN_CB_NO_REGS, r);
}

// Not by QEMU's own inline counters: with several CPUs, 10.0 makes wrong addresses of them.
static void count(struct qemu_plugin_insn *insn, uint64_t code, enum who who) {
    uint32_t size = target->repeats(code);
    if (size)
        count_repeated(insn, size, &executed[who], false);
    else
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_executed, QEMU_PLUGIN_CB_NO_REGS, &executed[who]);
}

static void instrument_hyp(struct qemu_plugin_insn *insn, uint64_t code, uint64_t offset) {
    if (profile) {
        uint32_t size = target->repeats(code);
        if (size)
            count_repeated(insn, size, &histogram[offset], true);
        else
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_profiled, QEMU_PLUGIN_CB_NO_REGS, &histogram[offset]);
        return;
    }
    count(insn, code, HYPERVISOR);
    if (guest_ran)
        return;
    qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, NULL);
    uint32_t reg;
    if (target->zero(code, &reg))
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_zero, QEMU_PLUGIN_CB_R_REGS, (void *)(uintptr_t)reg);
}

static void instrument_guest(struct qemu_plugin_insn *insn, uint64_t code) {
    uint32_t mark = target->mark(code);
    if (mark >= MARK_BEGIN && mark <= MARK_RESET)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)mark);
    else
        count(insn, code, GUEST);
}

// The first code that is executed where it lies in memory: what starts the machine. A PC's firmware is in many places.
static bool is_in_memory(uint64_t va) {
    return target->ram_base ? va >= target->ram_base : va - hyp_base < hyp_size;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint8_t *host = qemu_plugin_insn_haddr(insn);
        uint64_t va = qemu_plugin_insn_vaddr(insn);
        if (!host || (!host_ram && !is_in_memory(va))) // a ROM comes first
            continue;
        if (!host_ram)
            host_ram = host - (va - target->ram_base);
        uint64_t pa = target->ram_base + (uint64_t)(host - host_ram);
        uint64_t code = 0;
        qemu_plugin_insn_data(insn, &code, sizeof(code));
        if (pa >= hyp_base && pa - hyp_base < hyp_size) {
            hyp_runs = true;
            instrument_hyp(insn, code, pa - hyp_base);
        } else if (target->firmware && pa < hyp_base) {
            count(insn, code, FIRMWARE);
        } else if (hyp_runs) {
            if (i == 0)
                on_guest_block(pa, va);
            instrument_guest(insn, code);
        }
    }
}

static void on_exit(qemu_plugin_id_t id, void *arg) {
    (void)id, (void)arg;
    event("end", 0, 0);
    if (profile) {
        fprintf(out, "operations %" PRIu64 "\n", operations);
        for (uint64_t i = 0; i < hyp_size; i++)
            if (histogram[i])
                fprintf(out, "at %" PRIu64 " %" PRIu64 "\n", i, histogram[i]);
    }
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
        if (strcmp(info->target_name, targets[i].name) == 0)
            target = &targets[i];
    for (int i = 0; i < argc; i++) {
        char *key = argv[i], *word = strchr(key, '=');
        if (!word)
            return -1;
        *word++ = 0;
        if (strcmp(key, "out") == 0)
            out = fopen(word, "w");
        else if (strcmp(key, "hyp") == 0)
            hyp_base = strtoull(word, NULL, 0);
        else if (strcmp(key, "size") == 0)
            hyp_size = strtoull(word, NULL, 0);
        else if (strcmp(key, "ram") == 0)
            guest_ram = strtoull(word, NULL, 0);
        else if (strcmp(key, "profile") == 0)
            profile = true, profile_all = strcmp(word, "all") == 0;
        else
            return -1;
    }
    histogram = calloc(hyp_size + 1, sizeof(*histogram));
    if (!target || !out || !hyp_base || !hyp_size || !histogram)
        return -1;
    qemu_plugin_register_vcpu_init_cb(id, on_cpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
