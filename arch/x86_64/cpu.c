// SPDX-License-Identifier: Apache-2.0
// A physical CPU: what it can do, the hypervisor's own mapping, how a stopped one is started, contexts.
#include <string.h>

#include "report.h"
#include "hostmap.h"
#include "log.h"
#include "page.h"
#include "pgtable.h"
#include "virt.h"
#include "x86_64.h"

enum : u32 { INIT_WAIT_NS = 10000, STARTUP_WAIT_NS = 200000 };

struct x86_features features;

struct ap_boot ap_boot;

// For a CPU that cannot allocate its own yet: one at a time.
static alignas(16) u8 boot_emergency[EMERGENCY_STACKS * EMERGENCY_STACK_SIZE];

// ── What the CPUs can do ────────────────────────────────────────────────────────────────────────────────────────────
// Boot's page tables reach 4 GiB; the page allocator's records, the bundle and ACPI tables may be above.
static void extend_boot_mapping(void) {
    enum { PTE_GIB_PAGE = 0x83, ENTRIES = 512, FIRST = 4 };
    for (u64 i = FIRST; features.gib_pages && i < ENTRIES; i++)
        ((u64 *)(void *)boot_pdpt)[i] = GIB(i) | PTE_GIB_PAGE;
}

u64 boot_mapping_end(void) {
    return features.gib_pages ? GIB(512) : GIB(4);
}

void features_probe(const struct board *board) {
    struct cpuid f = cpuid(CPUID_FEATURES, 0), ext = cpuid_or_zero(CPUID_EXT_FEATURES, 0);
    u32 sizes = cpuid_or_zero(CPUID_EXT_SIZES, 0).eax & 0xff;
    if (!(ext.edx & CPUID_EXT1_EDX_NX))
        report_and_halt("this CPU cannot keep data from being executed (NX), or its firmware has switched that off");
    features.board = board;
    features.x2apic = f.ecx & CPUID_1_ECX_X2APIC;
    features.tsc_deadline = f.ecx & CPUID_1_ECX_TSC_DEADLINE;
    features.under_hypervisor = f.ecx & CPUID_1_ECX_HYPERVISOR;
    features.invariant_tsc = cpuid_or_zero(CPUID_EXT_POWER, 0).edx & CPUID_EXT7_EDX_INVARIANT_TSC;
    features.gib_pages = ext.edx & CPUID_EXT1_EDX_1GIB;
    features.phys_bits = sizes ? sizes : 36;
    features.lapic = msr_read(MSR_APIC_BASE) & APIC_BASE_ADDRESS;
    extend_boot_mapping();
}

u64 arch_cpu_hwid(void) {
    struct cpuid c = cpuid_or_zero(CPUID_TOPOLOGY, 0);
    return c.ebx ? c.edx : cpuid(CPUID_FEATURES, 0).ebx >> 24;
}

// ── The hypervisor's own mapping ────────────────────────────────────────────────────────────────────────────────────
static void map_register(u64 address, const char *what) {
    if (address)
        hostmap_rest(address, 8, PT_READ | PT_WRITE | PT_DEVICE, what);
}

static void map_acpi_register(const struct acpi_register *r) {
    if (r->space == ACPI_MEMORY)
        map_register(r->address, "ACPI register");
}

void arch_memory_init(const struct board *board) {
    hostmap_init(board, &(struct image_layout){.start = (u64)__image_start,
                                               .text_end = (u64)__text_end,
                                               .rodata_end = (u64)__rodata_end,
                                               .end = (u64)__image_end});
    map_register(features.lapic, "local APIC");
    for (u32 i = 0; i < features.acpi.ioapic_count; i++)
        map_register(features.acpi.ioapics[i].address, "IOAPIC");
    map_acpi_register(&features.acpi.reset);
    map_acpi_register(&features.acpi.pm1a_control);
    map_acpi_register(&features.acpi.pm1b_control);
    map_acpi_register(&features.acpi.sleep_control);
    map_acpi_register(&features.acpi.sleep_status);
    hostmap_rest(board->bundle.base, board->bundle.size, PT_READ,
                 "bundle"); // loaders keep it out of the memory map, too
    cr3_write(host_pt.root.v);
    irqhw_init(board);
    if (features.memory_cut)
        log_warn("%lu MiB of memory above %lu GiB are left unused: this CPU has no pages of 1 GiB",
                 (unsigned long)(features.memory_cut / MIB(1)), (unsigned long)(boot_mapping_end() / GIB(1)));
    log_debug("clock: %lu kHz by %s%s", (unsigned long)(features.tsc_hz / 1000), features.tsc_source,
              features.invariant_tsc || features.under_hypervisor ? ""
                                                                  : "; this CPU does not promise that it is constant");
}

// ── A CPU ───────────────────────────────────────────────────────────────────────────────────────────────────────────
void boot_tables(struct cpu *cpu) {
    cpu_tables_init(cpu, boot_emergency);
    cpu_tables_load(cpu);
}

void arch_cpu_init(struct cpu *cpu) {
    enum { ORDER = 3 };
    static_assert(EMERGENCY_STACKS * EMERGENCY_STACK_SIZE <= PAGE_SIZE << ORDER);
    u8 *stacks = page_alloc(ORDER);
    if (stacks) { // otherwise boot's stay in use
        cpu_tables_init(cpu, stacks);
        cpu_tables_load(cpu);
    }
    u64 cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cr4 |= cpuid_or_zero(CPUID_FEATURES_7, 0).ebx & CPUID_7_EBX_SMEP ? CR4_SMEP : 0;
    cr4_write(cr4);
    irqhw_cpu_init(cpu);
    virt_cpu_init(cpu);
}

// Until the CPU that is being started shows up, but no longer than that.
static void wait_for_arrival(u64 ns) {
    u64 end = arch_now_ns() + ns;
    while (!atomic_load_explicit(&ap_boot.arrived, memory_order_relaxed) && arch_now_ns() < end)
        arch_cpu_relax();
}

// INIT, then twice STARTUP (MultiProcessor Specification 1.4 §B.4). CPUs that virtualise no longer need the 10 ms after
// INIT that it asks for.
int arch_cpu_start(struct cpu *cpu, void *stack_top) {
    if (!features.ap_page || (!features.x2apic && cpu->hwid >= XAPIC_BROADCAST))
        return -ENODEV;
    memcpy((void *)features.ap_page, ap_trampoline, (size_t)((u64)ap_trampoline_end - (u64)ap_trampoline));
    ap_boot = (struct ap_boot){.apic_id = cpu->hwid, .cr3 = cr3_read(), .stack_top = (u64)stack_top, .cpu = (u64)cpu};
    lapic_icr(cpu->hwid, ICR_INIT | ICR_LEVEL | ICR_ASSERT);
    wait_for_arrival(INIT_WAIT_NS);
    for (u32 i = 0; i < 2; i++) {
        if (!atomic_load_explicit(&ap_boot.arrived, memory_order_relaxed))
            lapic_icr(cpu->hwid, ICR_STARTUP | ICR_ASSERT | (u32)(features.ap_page >> PAGE_SHIFT));
        wait_for_arrival(STARTUP_WAIT_NS);
    }
    return 0;
}

void x86_64_boot_secondary(struct cpu *cpu) {
    boot_tables(cpu);
    atomic_store_explicit(&ap_boot.arrived, true, memory_order_relaxed);
    smp_secondary_main(cpu);
}

void arch_ctx_init(struct arch_ctx *ctx, void *stack_top, void (*fn)(void *), void *arg) {
    memset(ctx, 0, sizeof(*ctx));
    ctx->rip = (u64)ctx_start;
    ctx->rsp = (u64)stack_top & ~15ull;
    ctx->r12 = (u64)fn;
    ctx->r13 = (u64)arg;
}

// ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────
void arch_zero(void *p, u64 size) {
    u64 words = size / 8;
    __asm__ volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(0) : "memory");
}

// Caches are coherent, with instruction fetches too.
void arch_vm_sync_code(void *start, u64 size) {
    (void)start;
    (void)size;
}
