// SPDX-License-Identifier: Apache-2.0
// A QEMU plugin that separates the hypervisor's instructions from everybody else's by where their code lies in physical
// memory, and writes what it sees to a file, a line an event: "KIND INSTRUCTIONS ...".
//
//   out=FILE     where to
//   hyp=ADDR     where the hypervisor's image lies, and
//   size=BYTES   how much memory it takes
//   ram=BYTES    of the guest
//   profile=...  instead of events, at the end: "at OFFSET COUNT" for each of the hypervisor's instructions that was
//   executed,
//                and "operations COUNT"; marked: between begin and end marks, all: after the guest's first instruction
//
// Events: guest (its first instruction), user (its first at EL0), mark (see bench/guest/aarch64/marks.h), end.
// The count is of instructions executed one by one: with -icount a block may be left in its middle and resumed.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../guest/aarch64/marks.h"
#include "qemu_plugin.h"

#define EXPORT [[gnu::visibility("default")]]
EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_version = 4;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

enum { PAGE_SHIFT = 12, RAM_PAGES = 1 << 21, ZVA_BYTES = 64, REGISTERS = 31 };
static const uint64_t RAM_BASE = 0x40000000, GUEST_RAM_BASE = 0x40000000, MIB = 1 << 20;

static FILE *out;
static uint64_t hyp_base, hyp_size, guest_ram;
static bool profile, profile_all;

static qemu_plugin_u64 executed; // in the hypervisor
static const uint8_t *host_ram;  // where QEMU keeps the byte at RAM_BASE
static bool hyp_runs, guest_ran, kernel_ran, user_ran, marked;
static uint64_t guest_base; // of the guest's memory, physical
static bool written[RAM_PAGES];
static uint64_t *histogram, operations;
static struct qemu_plugin_register *registers[REGISTERS];
static GByteArray *value;

// ── What the hypervisor writes until the guest runs ─────────────────────────────────────────────────────────────────
static void note_written(uint64_t at, uint64_t size) {
    for (uint64_t page = at >> PAGE_SHIFT; page <= (at + size - 1) >> PAGE_SHIFT; page++)
        if (page >= RAM_BASE >> PAGE_SHIFT && page - (RAM_BASE >> PAGE_SHIFT) < RAM_PAGES)
            written[page - (RAM_BASE >> PAGE_SHIFT)] = true;
}

// Its virtual addresses are physical ones.
static void on_store(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *arg) {
    (void)cpu, (void)arg;
    if (!guest_ran)
        note_written(vaddr, 1ull << qemu_plugin_mem_size_shift(info));
}

// DC ZVA is no store to a plugin.
static void on_zva(unsigned cpu, void *arg) {
    (void)cpu;
    uintptr_t number = (uintptr_t)arg;
    if (guest_ran || number >= REGISTERS || !registers[number])
        return;
    g_byte_array_set_size(value, 0);
    uint64_t at = 0;
    if (qemu_plugin_read_register(registers[number], value) != sizeof(at))
        return;
    memcpy(&at, value->data, sizeof(at));
    note_written(at & ~(uint64_t)(ZVA_BYTES - 1), ZVA_BYTES);
}

static void on_cpu(qemu_plugin_id_t id, unsigned cpu) {
    (void)id;
    if (cpu != 0)
        return;
    GArray *all = qemu_plugin_get_registers();
    const qemu_plugin_reg_descriptor *d = (const void *)all->data;
    for (unsigned i = 0; i < all->len; i++) {
        char *end;
        if (d[i].name[0] != 'x')
            continue;
        unsigned long number = strtoul(d[i].name + 1, &end, 10);
        if (end != d[i].name + 1 && *end == 0 && number < REGISTERS)
            registers[number] = d[i].handle;
    }
    value = g_byte_array_new();
}

// How much was written outside of the guest's memory, and inside.
static void count_written(uint64_t *own, uint64_t *guests) {
    *own = *guests = 0;
    for (uint64_t page = 0; page < RAM_PAGES; page++) {
        uint64_t at = RAM_BASE + (page << PAGE_SHIFT);
        bool inside = at >= guest_base && at - guest_base < guest_ram;
        if (written[page])
            *(inside ? guests : own) += 1 << PAGE_SHIFT;
    }
}

// ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────────────
static void event(const char *kind, uint64_t a, uint64_t b) {
    if (!profile)
        fprintf(out, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", kind, qemu_plugin_u64_sum(executed), a, b);
    fflush(out);
}

// Called before a block of the guest's is translated: that is, before it runs for the first time.
static void on_guest_block(uint64_t pa, uint64_t va) {
    if (!guest_ran) {
        guest_base = pa - (va - GUEST_RAM_BASE); // its MMU is off
        uint64_t own, guests;
        count_written(&own, &guests);
        event("guest", own, guests);
        guest_ran = true;
        marked = profile_all;
    }
    kernel_ran = kernel_ran || va >> 48 == 0xffff;
    // Low addresses are the kernel's own only where its memory is mapped one to one.
    if (kernel_ran && !user_ran && va >> 48 == 0 && (va < GUEST_RAM_BASE || va >= 64 * 1024 * MIB)) {
        user_ran = true;
        event("user", va, 0);
    }
}

static void on_mark(unsigned cpu, void *arg) {
    (void)cpu;
    uintptr_t which = (uintptr_t)arg;
    if (which == MARK_BEGIN) {
        operations += !marked;
        marked = true;
    } else if (which == MARK_END) {
        marked = false;
    } else {
        event("mark", which, 0);
        operations += which == MARK_RESET;
    }
}

static void on_profiled(unsigned cpu, void *arg) {
    (void)cpu;
    if (marked)
        ++*(uint64_t *)arg;
}

// ── Translation ─────────────────────────────────────────────────────────────────────────────────────────────────────
static void instrument_hyp(struct qemu_plugin_insn *insn, uint32_t code, uint64_t offset) {
    if (profile) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_profiled, QEMU_PLUGIN_CB_NO_REGS, &histogram[offset / 4]);
        return;
    }
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64, executed, 1);
    if (guest_ran)
        return;
    qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, NULL);
    if ((code & ~0x1fu) == 0xd50b7420)
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_zva, QEMU_PLUGIN_CB_R_REGS, (void *)(uintptr_t)(code & 0x1f));
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint8_t *host = qemu_plugin_insn_haddr(insn);
        uint64_t va = qemu_plugin_insn_vaddr(insn);
        if (!host)
            continue;
        if (!host_ram) // QEMU's boot stub, at the start of memory
            host_ram = host - (va - RAM_BASE);
        uint64_t pa = RAM_BASE + (uint64_t)(host - host_ram);
        uint32_t code = 0;
        qemu_plugin_insn_data(insn, &code, sizeof(code));
        if (pa >= hyp_base && pa - hyp_base < hyp_size) {
            hyp_runs = true;
            instrument_hyp(insn, code, pa - hyp_base);
            continue;
        }
        if (!hyp_runs)
            continue;
        if (i == 0)
            on_guest_block(pa, va);
        uint32_t mark = (code - 0xd280001f) >> 5; // MOVZ XZR, #mark
        if ((code & 0x1f) == 0x1f && mark >= MARK_BEGIN && mark <= MARK_RESET)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)mark);
    }
}

static void on_exit(qemu_plugin_id_t id, void *arg) {
    (void)id, (void)arg;
    event("end", 0, 0);
    if (profile) {
        fprintf(out, "operations %" PRIu64 "\n", operations);
        for (uint64_t i = 0; i < hyp_size / 4; i++)
            if (histogram[i])
                fprintf(out, "at %" PRIu64 " %" PRIu64 "\n", 4 * i, histogram[i]);
    }
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
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
    histogram = calloc(hyp_size / 4 + 1, sizeof(*histogram));
    if (!out || !hyp_base || !hyp_size || !histogram)
        return -1;
    executed = (qemu_plugin_u64){qemu_plugin_scoreboard_new(sizeof(uint64_t)), 0};
    qemu_plugin_register_vcpu_init_cb(id, on_cpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
