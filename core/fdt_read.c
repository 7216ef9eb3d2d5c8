// SPDX-License-Identifier: Apache-2.0
// Reads the machine's device tree into a struct board. fdt_check_full() has vouched for the tree's structure before
// anything else looks at it; what the properties say is checked here. One walk over the tree notes where the
// interesting nodes lie, for libfdt finds a node's parents only by walking again.
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "fdt_isa.h"

enum {
    MAX_DEPTH = 16,
    GIC_PPI_BASE = 16, // GICv3 §2.2.1: INTIDs 16-31 are PPIs, SPIs begin at 32
    GIC_SPI_BASE = 32,
    GIC_PPI_COUNT = 16,
    GIC_SPI_COUNT = 988,
    GIC_TYPE_SPI = 0, // first cell of a specifier, devicetree binding arm,gic-v3
    GIC_TYPE_PPI = 1,
    IRQ_TYPE_EDGE = 3,    // flags: rising or falling edge
    RISCV_SEI = 9,        // binding riscv,cpu-intc: the supervisor's external interrupt
    RISCV_SOURCES = 1023, // of a PLIC or an APLIC at most
};

// A node and its ancestors: node[0] is the root, node[depth] the node itself.
struct place {
    int node[MAX_DEPTH];
    int depth; // -1: not found
};

// What a child of the root stands for.
enum section { SECTION_OTHER, SECTION_CHOSEN, SECTION_ALIASES, SECTION_RESERVED, SECTION_CPUS };

struct reader {
    const void *fdt;
    struct board *board;
    enum section section; // of the walk
    int chosen, aliases;  // negative: not there
    struct place console; // where stdout-path points, or else the first UART we know
    struct place irqchip;
    struct place timer;
    struct place imsic;
    u32 chip_phandle;             // 0: no interrupt controller that we know
    u32 chip_cells;               // of an interrupt specifier
    s64 cpu;                      // index of the CPU whose children are walked, or negative
    u32 cpu_intc[BOARD_MAX_CPUS]; // phandle of each hart's own interrupt controller
};

// ── Properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

static int self(const struct place *at) {
    return at->node[at->depth];
}

// The property's cells; *count is 0 if there is none.
static const fdt32_t *prop_cells(const void *fdt, int node, const char *name, u32 *count) {
    int size = 0;
    const fdt32_t *cells = fdt_getprop(fdt, node, name, &size);
    *count = cells && size > 0 ? (u32)size / sizeof(fdt32_t) : 0;
    return cells;
}

static u32 prop_u32(const void *fdt, int node, const char *name, u32 otherwise) {
    u32 count;
    const fdt32_t *cells = prop_cells(fdt, node, name, &count);
    return count ? fdt32_ld(cells) : otherwise;
}

// A number of one or two cells; false if there is none.
static bool prop_u32_or_u64(const void *fdt, int node, const char *name, u64 *value) {
    u32 count;
    const fdt32_t *cells = prop_cells(fdt, node, name, &count);
    if (count != 1 && count != 2)
        return false;
    *value = count == 1 ? fdt32_ld(cells) : (u64)fdt32_ld(cells) << 32 | fdt32_ld(cells + 1);
    return true;
}

// Copies a string property, cut to fit; the empty string if there is none.
static void prop_string(const void *fdt, int node, const char *name, char *out, size_t size) {
    int length = 0;
    const char *text = fdt_getprop(fdt, node, name, &length);
    size_t n = text && length > 0 ? strnlen(text, (size_t)length) : 0;
    n = MIN(n, size - 1);
    if (n)
        memcpy(out, text, n);
    out[n] = '\0';
}

// A property's value while the tree is walked.
struct value {
    const char *bytes; // nullptr: the node has no such property
    int size;
};

// The properties that tell what a node is.
struct traits {
    struct value compatible, device_type, status;
};

static bool value_is(const struct value *value, const char *string) {
    return value->bytes && value->size == (int)strlen(string) + 1 &&
           memcmp(value->bytes, string, (size_t)value->size) == 0;
}

static bool is_enabled(const struct traits *traits) {
    return !traits->status.bytes || value_is(&traits->status, "okay") || value_is(&traits->status, "ok");
}

// ── Addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────

// Takes `count` cells as one number; false for more than two cells (a PCI address, say).
static bool read_number(const fdt32_t *cells, u32 count, u64 *value) {
    if (count > 2)
        return false;
    *value = 0;
    for (u32 i = 0; i < count; i++)
        *value = *value << 32 | fdt32_ld(cells + i);
    return true;
}

// How many cells the children of `bus` have for an address and for a size; false if that is malformed.
static bool bus_cells(const void *fdt, int bus, u32 *address, u32 *size) {
    const int a = fdt_address_cells(fdt, bus), s = fdt_size_cells(fdt, bus);
    if (a < 0 || s < 0)
        return false;
    *address = (u32)a;
    *size = (u32)s;
    return true;
}

// Takes an address on `bus` to its parent's bus through the ranges property (Devicetree Specification §2.3.8).
static bool translate_once(const void *fdt, int bus, int parent, u64 size, u64 *address) {
    int length = 0;
    const fdt32_t *range = fdt_getprop(fdt, bus, "ranges", &length);
    if (!range)
        return false;
    if (length == 0)
        return true;
    u32 child_cells, size_cells, parent_cells, unused;
    if (!bus_cells(fdt, bus, &child_cells, &size_cells) || !bus_cells(fdt, parent, &parent_cells, &unused))
        return false;
    const u32 step = child_cells + parent_cells + size_cells;
    if (step == 0)
        return false;
    for (u32 left = (u32)length / sizeof(fdt32_t); left >= step; left -= step, range += step) {
        u64 child, to, span;
        if (!read_number(range, child_cells, &child) || !read_number(range + child_cells, parent_cells, &to) ||
            !read_number(range + child_cells + parent_cells, size_cells, &span))
            return false;
        if (*address < child || *address - child >= span || size > span - (*address - child))
            continue;
        *address = *address - child + to;
        return true;
    }
    return false;
}

// Entry `index` of the node's reg, as the CPU sees it; false if there is none, or it is not reachable or wraps around.
static bool node_reg(const void *fdt, const struct place *at, u32 index, struct region *out) {
    u32 address_cells, size_cells, count;
    if (at->depth < 1 || !bus_cells(fdt, at->node[at->depth - 1], &address_cells, &size_cells))
        return false;
    const u32 step = address_cells + size_cells;
    const fdt32_t *reg = prop_cells(fdt, self(at), "reg", &count);
    if (address_cells == 0 || step == 0 || index >= count / step)
        return false;
    reg += index * step;
    if (!read_number(reg, address_cells, &out->base) || !read_number(reg + address_cells, size_cells, &out->size))
        return false;
    for (int level = at->depth - 1; level > 0; level--)
        if (!translate_once(fdt, at->node[level], at->node[level - 1], out->size, &out->base))
            return false;
    return out->base + out->size >= out->base;
}

// ── Interrupts ───────────────────────────────────────────────────────────────────────────────────────────────────────

struct irq {
    u32 intid; // 0: none
    bool edge;
};

static struct irq gic_specifier(const fdt32_t *cells) {
    const u32 type = fdt32_ld(cells), number = fdt32_ld(cells + 1);
    struct irq irq = {.edge = (fdt32_ld(cells + 2) & IRQ_TYPE_EDGE) != 0};
    if (type == GIC_TYPE_SPI && number < GIC_SPI_COUNT)
        irq.intid = GIC_SPI_BASE + number;
    else if (type == GIC_TYPE_PPI && number < GIC_PPI_COUNT)
        irq.intid = GIC_PPI_BASE + number;
    return irq;
}

// Bindings sifive,plic-1.0.0: a source; riscv,aplic: a source and flags.
static struct irq source_specifier(const fdt32_t *cells, u32 width) {
    const u32 source = fdt32_ld(cells);
    return (struct irq){
        .intid = source <= RISCV_SOURCES ? source : 0,
        .edge = width > 1 && (fdt32_ld(cells + 1) & IRQ_TYPE_EDGE) != 0,
    };
}

// How many cells a specifier has at least, for us to read it.
static u32 specifier_width(const struct reader *r) {
    const enum irqchip_kind kind = r->board->irqchip.kind;
    return kind == IRQCHIP_PLIC ? 1 : kind == IRQCHIP_APLIC || kind == IRQCHIP_IMSIC ? 2 : 3;
}

static struct irq specifier(const struct reader *r, const fdt32_t *cells) {
    return specifier_width(r) == 3 ? gic_specifier(cells) : source_specifier(cells, specifier_width(r));
}

// Does the node's `interrupts` speak of the controller? The nearest interrupt-parent upwards decides (specification
// §2.4).
static bool irq_parent_is_chip(const struct reader *r, const struct place *at) {
    for (int level = at->depth; level >= 0; level--) {
        const u32 parent = prop_u32(r->fdt, at->node[level], "interrupt-parent", 0);
        if (parent)
            return parent == r->chip_phandle;
    }
    return false;
}

// interrupts-extended: a list of controller and specifier, each controller with its own number of cells.
static struct irq irq_extended(const struct reader *r, const fdt32_t *cells, u32 count, u32 index) {
    for (u32 i = 0; count; i++) {
        const u32 phandle = fdt32_ld(cells);
        u32 width = r->chip_cells;
        if (phandle != r->chip_phandle)
            width = prop_u32(r->fdt, fdt_node_offset_by_phandle(r->fdt, phandle), "#interrupt-cells", UINT32_MAX);
        if (width >= count)
            break;
        if (i == index)
            return phandle == r->chip_phandle ? specifier(r, cells + 1) : (struct irq){0};
        cells += 1 + width;
        count -= 1 + width;
    }
    return (struct irq){0};
}

// The node's interrupt number `index`, if it goes to the controller.
static struct irq node_irq(const struct reader *r, const struct place *at, u32 index) {
    u32 count;
    if (r->chip_cells < specifier_width(r))
        return (struct irq){0};
    const fdt32_t *cells = prop_cells(r->fdt, self(at), "interrupts-extended", &count);
    if (count)
        return irq_extended(r, cells, count, index);
    cells = prop_cells(r->fdt, self(at), "interrupts", &count);
    if (index >= count / r->chip_cells || !irq_parent_is_chip(r, at))
        return (struct irq){0};
    return specifier(r, cells + index * r->chip_cells);
}

// ── Devices ──────────────────────────────────────────────────────────────────────────────────────────────────────────

static const struct {
    const char *compatible;
    enum uart_kind kind;
} uarts[] = {
    {"arm,pl011", UART_PL011},         {"arm,sbsa-uart", UART_PL011},    {"ns16550a", UART_16550},
    {"ns16550", UART_16550},           {"snps,dw-apb-uart", UART_16550}, {"cdns,uart-r1p8", UART_CADENCE},
    {"cdns,uart-r1p12", UART_CADENCE}, {"xlnx,xuartps", UART_CADENCE},
};

static const struct {
    const char *compatible;
    enum rtc_kind kind;
} rtcs[] = {{"arm,pl031", RTC_PL031}, {"google,goldfish-rtc", RTC_GOLDFISH}};

static const struct {
    const char *compatible;
    enum irqchip_kind kind;
} irqchips[] = {
    {"arm,gic-v3", IRQCHIP_GICV3},        {"arm,gic-400", IRQCHIP_GICV2},       {"arm,cortex-a15-gic", IRQCHIP_GICV2},
    {"arm,cortex-a7-gic", IRQCHIP_GICV2}, {"arm,cortex-a9-gic", IRQCHIP_GICV2}, {"sifive,plic-1.0.0", IRQCHIP_PLIC},
    {"riscv,plic0", IRQCHIP_PLIC},        {"riscv,aplic", IRQCHIP_APLIC},       {"riscv,imsics", IRQCHIP_IMSIC},
};

static bool list_contains(const char *list, int length, const char *compatible) {
    return list && fdt_stringlist_contains(list, length, compatible);
}

static enum uart_kind uart_kind_of(const char *list, int length) {
    for (size_t i = 0; i < ARRAY_SIZE(uarts); i++)
        if (list_contains(list, length, uarts[i].compatible))
            return uarts[i].kind;
    return UART_NONE;
}

static enum irqchip_kind irqchip_kind_of(const char *list, int length) {
    for (size_t i = 0; i < ARRAY_SIZE(irqchips); i++)
        if (list_contains(list, length, irqchips[i].compatible))
            return irqchips[i].kind;
    return IRQCHIP_NONE;
}

static void read_uart(const struct reader *r) {
    const struct place *at = &r->console;
    struct board_uart uart = {0};
    struct region reg;
    int length = 0;
    if (at->depth < 0 || !node_reg(r->fdt, at, 0, &reg))
        return;
    const char *list = fdt_getprop(r->fdt, self(at), "compatible", &length);
    uart.kind = uart_kind_of(list, length);
    if (uart.kind == UART_NONE)
        return;
    uart.base = reg.base;
    uart.size = reg.size;
    uart.reg_shift = prop_u32(r->fdt, self(at), "reg-shift", 0);
    uart.reg_width = prop_u32(r->fdt, self(at), "reg-io-width", 1);
    uart.clock_hz = prop_u32(r->fdt, self(at), "clock-frequency", 0);
    if (uart.reg_shift > 4)
        uart.reg_shift = 0;
    if (uart.reg_width != 4)
        uart.reg_width = 1;
    const struct irq irq = node_irq(r, at, 0);
    uart.irq = irq.intid;
    uart.irq_edge = irq.edge;
    r->board->uart = uart;
}

static void read_rtc(const struct reader *r, const struct place *at, const char *list, int length) {
    for (size_t i = 0; i < ARRAY_SIZE(rtcs); i++) {
        struct board_rtc rtc = {.kind = rtcs[i].kind};
        if (r->board->rtc.kind == RTC_NONE && list_contains(list, length, rtcs[i].compatible) &&
            node_reg(r->fdt, at, 0, &rtc.regs))
            r->board->rtc = rtc;
    }
}

static void read_gicv3(struct reader *r, struct board_irqchip *chip) {
    const struct place *at = &r->irqchip;
    u32 count;
    if (!node_reg(r->fdt, at, 0, &chip->dist)) {
        *chip = (struct board_irqchip){0};
        return;
    }
    const u32 regions = prop_u32(r->fdt, self(at), "#redistributor-regions", 1);
    for (u32 i = 0; i < MIN(regions, (u32)BOARD_MAX_GICR); i++)
        if (node_reg(r->fdt, at, 1 + i, &chip->redist[chip->redist_count]))
            chip->redist_count++;
    if (!prop_u32_or_u64(r->fdt, self(at), "redistributor-stride", &chip->redist_stride))
        chip->redist_stride = 0;
    // Its own interrupt needs no look at the parent: a GIC's maintenance interrupt is its own PPI.
    const fdt32_t *cells = prop_cells(r->fdt, self(at), "interrupts", &count);
    if (r->chip_cells >= 3 && count >= r->chip_cells)
        chip->maintenance_irq = gic_specifier(cells).intid;
}

// A RISC-V controller lists the wires to the harts; the place in the list is the number of the context.
static void read_contexts(const struct reader *r, int node) {
    u32 count;
    const fdt32_t *wires = prop_cells(r->fdt, node, "interrupts-extended", &count);
    for (u32 i = 0; i < count / 2; i++) {
        const u32 phandle = fdt32_ld(wires + 2 * i), wire = fdt32_ld(wires + 2 * i + 1);
        for (u32 cpu = 0; wire == RISCV_SEI && cpu < r->board->cpu_count; cpu++)
            if (phandle && r->cpu_intc[cpu] == phandle)
                r->board->cpus[cpu].irq_context = i;
    }
}

// An APLIC without wires of its own sends messages to the IMSICs.
static void read_imsic(struct reader *r, struct board_irqchip *chip) {
    const int node = self(&r->imsic);
    chip->kind = IRQCHIP_IMSIC;
    chip->ids = prop_u32(r->fdt, node, "riscv,num-ids", 0);
    chip->guest_index_bits = prop_u32(r->fdt, node, "riscv,guest-index-bits", 0);
    for (u32 i = 0; i < BOARD_MAX_GICR && node_reg(r->fdt, &r->imsic, i, &chip->redist[i]); i++)
        chip->redist_count++;
    read_contexts(r, node);
}

static void read_riscv_irqchip(struct reader *r, struct board_irqchip *chip) {
    const struct place *at = &r->irqchip;
    const bool plic = chip->kind == IRQCHIP_PLIC;
    if (!node_reg(r->fdt, at, 0, &chip->dist)) {
        *chip = (struct board_irqchip){0};
        return;
    }
    const u32 sources = prop_u32(r->fdt, self(at), plic ? "riscv,ndev" : "riscv,num-sources", 0);
    chip->sources = MIN(sources, (u32)RISCV_SOURCES);
    if (!plic && r->imsic.depth >= 0 && fdt_getprop(r->fdt, self(at), "msi-parent", nullptr))
        read_imsic(r, chip);
    else
        read_contexts(r, self(at));
}

static void read_irqchip(struct reader *r) {
    const struct place *at = &r->irqchip;
    struct board_irqchip *chip = &r->board->irqchip;
    if (chip->kind == IRQCHIP_NONE)
        return;
    r->chip_phandle = fdt_get_phandle(r->fdt, self(at));
    r->chip_cells = prop_u32(r->fdt, self(at), "#interrupt-cells", specifier_width(r));
    if (r->chip_cells > 8)
        r->chip_cells = 0;
    if (chip->kind == IRQCHIP_GICV3)
        read_gicv3(r, chip);
    else if (chip->kind != IRQCHIP_GICV2)
        read_riscv_irqchip(r, chip);
}

// The place of a timer interrupt in the list: by name if there are names, else in the binding's order.
static u32 timer_irq(const struct reader *r, const char *name, u32 otherwise) {
    const int node = self(&r->timer);
    if (!fdt_getprop(r->fdt, node, "interrupt-names", nullptr))
        return node_irq(r, &r->timer, otherwise).intid;
    const int index = fdt_stringlist_search(r->fdt, node, "interrupt-names", name);
    return index < 0 ? 0 : node_irq(r, &r->timer, (u32)index).intid;
}

static void read_timer(const struct reader *r) {
    if (r->timer.depth < 0)
        return;
    r->board->timer = (struct board_timer){
        .secure_irq = timer_irq(r, "sec-phys", 0),
        .phys_irq = timer_irq(r, "phys", 1),
        .virt_irq = timer_irq(r, "virt", 2),
        .hyp_irq = timer_irq(r, "hyp-phys", 3),
        .frequency_hz = prop_u32(r->fdt, self(&r->timer), "clock-frequency", 0),
    };
}

static void read_psci(const struct reader *r, int node) {
    int length = 0;
    const char *method = fdt_getprop(r->fdt, node, "method", &length);
    if (method && length == 4 && memcmp(method, "smc", 4) == 0)
        r->board->psci = PSCI_SMC;
    else if (method && length == 4 && memcmp(method, "hvc", 4) == 0)
        r->board->psci = PSCI_HVC;
}

// ── Memory and CPUs ──────────────────────────────────────────────────────────────────────────────────────────────────

static void read_memory(const struct reader *r, const struct place *at) {
    struct region region;
    for (u32 i = 0; node_reg(r->fdt, at, i, &region); i++)
        board_add_memory(r->board, region);
}

static void read_reserved(const struct reader *r, const struct place *at) {
    struct region region;
    for (u32 i = 0; node_reg(r->fdt, at, i, &region); i++)
        board_reserve(r->board, region);
}

static void read_reservation_block(const struct reader *r) {
    const int count = fdt_num_mem_rsv(r->fdt);
    for (int i = 0; i < count; i++) {
        struct region region;
        if (fdt_get_mem_rsv(r->fdt, i, &region.base, &region.size) == 0)
            board_reserve(r->board, region);
    }
}

static void read_isa(const struct reader *r, int node) {
    struct board *board = r->board;
    char isa[BOARD_ISA_MAX] = "";
    int size = 0;
    const char *list = fdt_getprop(r->fdt, node, "riscv,isa-extensions", &size);
    for (int at = 0; list && at < size;) {
        const size_t n = strnlen(list + at, (size_t)(size - at));
        isa_add(isa, sizeof(isa), list + at, n);
        at += (int)n + 1;
    }
    if (!list && (list = fdt_getprop(r->fdt, node, "riscv,isa", &size)))
        isa_add_string(isa, sizeof(isa), list, (size_t)size);
    if (board->cpu_count == 1)
        memcpy(board->isa, isa, sizeof(isa));
    else
        isa_keep_common(board->isa, isa);
}

static void read_cpu(struct reader *r, const struct place *at) {
    struct board *board = r->board;
    u32 address_cells, size_cells, count;
    u64 hwid;
    if (!bus_cells(r->fdt, at->node[at->depth - 1], &address_cells, &size_cells))
        return;
    const fdt32_t *reg = prop_cells(r->fdt, self(at), "reg", &count);
    if (address_cells == 0 || count < address_cells || !read_number(reg, address_cells, &hwid))
        return;
    for (u32 i = 0; i < board->cpu_count; i++)
        if (board->cpus[i].hwid == hwid)
            return;
    if (board->cpu_count == BOARD_MAX_CPUS) {
        board->cpus_ignored++;
        return;
    }
    r->cpu = board->cpu_count;
    board->cpus[board->cpu_count++] = (struct board_cpu){.hwid = hwid, .irq_context = BOARD_NO_CONTEXT};
    read_isa(r, self(at));
}

// ── The walk ─────────────────────────────────────────────────────────────────────────────────────────────────────────

static enum section section_of(const void *fdt, int node) {
    static const char *const names[] = {
        [SECTION_CHOSEN] = "chosen",
        [SECTION_ALIASES] = "aliases",
        [SECTION_RESERVED] = "reserved-memory",
        [SECTION_CPUS] = "cpus",
    };
    const char *name = fdt_get_name(fdt, node, nullptr);
    for (enum section i = SECTION_CHOSEN; name && i < ARRAY_SIZE(names); i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return SECTION_OTHER;
}

// APLICs and IMSICs are there once for each privilege level. The machine's APLIC has the supervisor's as its child.
static bool is_supervisors(const void *fdt, int node) {
    u32 count;
    const fdt32_t *wires = prop_cells(fdt, node, "interrupts-extended", &count);
    if (fdt_getprop(fdt, node, "riscv,children", nullptr))
        return false;
    return count < 2 || fdt32_ld(wires + 1) == RISCV_SEI;
}

static void visit_device(struct reader *r, const struct place *at, const struct traits *traits) {
    const char *list = traits->compatible.bytes;
    const int length = traits->compatible.size;
    if (!list || !is_enabled(traits))
        return;
    const enum irqchip_kind chip = irqchip_kind_of(list, length);
    const enum uart_kind uart = uart_kind_of(list, length);
    if (chip == IRQCHIP_IMSIC) {
        if (r->imsic.depth < 0 && is_supervisors(r->fdt, self(at)))
            r->imsic = *at;
    } else if (chip == IRQCHIP_APLIC && !is_supervisors(r->fdt, self(at))) {
        return;
    } else if (chip != IRQCHIP_NONE && r->board->irqchip.kind == IRQCHIP_NONE) {
        r->board->irqchip.kind = chip;
        r->irqchip = *at;
    } else if (uart != UART_NONE && r->console.depth < 0) {
        r->console = *at;
    } else if (list_contains(list, length, "arm,armv8-timer") && r->timer.depth < 0) {
        r->timer = *at;
    } else if (list_contains(list, length, "arm,psci-0.2") || list_contains(list, length, "arm,psci-1.0")) {
        read_psci(r, self(at));
    } else {
        read_rtc(r, at, list, length);
    }
}

static void visit(struct reader *r, const struct place *at, const struct traits *traits) {
    if (at->depth == 1)
        r->section = section_of(r->fdt, self(at));
    if (at->depth == 1 && r->section == SECTION_CPUS)
        r->board->timer.frequency_hz = prop_u32(r->fdt, self(at), "timebase-frequency", 0);
    if (at->depth == 1 && r->section == SECTION_CHOSEN) {
        r->chosen = self(at);
    } else if (at->depth == 1 && r->section == SECTION_ALIASES) {
        r->aliases = self(at);
    } else if (at->depth == 1 && value_is(&traits->device_type, "memory")) {
        if (is_enabled(traits))
            read_memory(r, at);
    } else if (at->depth == 2 && r->section == SECTION_RESERVED) {
        if (is_enabled(traits))
            read_reserved(r, at);
    } else if (at->depth == 2 && r->section == SECTION_CPUS) {
        r->cpu = -1;
        if (value_is(&traits->device_type, "cpu") && is_enabled(traits))
            read_cpu(r, at);
    } else if (at->depth == 3 && r->section == SECTION_CPUS) {
        if (r->cpu >= 0 && list_contains(traits->compatible.bytes, traits->compatible.size, "riscv,cpu-intc"))
            r->cpu_intc[r->cpu] = fdt_get_phandle(r->fdt, self(at));
    } else if (at->depth > 0) {
        visit_device(r, at, traits);
    }
}

static void note_property(const void *fdt, int offset, struct traits *traits) {
    struct value value;
    const char *name = nullptr;
    value.bytes = fdt_getprop_by_offset(fdt, offset, &name, &value.size);
    if (!value.bytes || !name)
        return;
    if (strcmp(name, "compatible") == 0)
        traits->compatible = value;
    else if (strcmp(name, "device_type") == 0)
        traits->device_type = value;
    else if (strcmp(name, "status") == 0)
        traits->status = value;
}

// Goes through the tags once: asking libfdt for each node and each property by name would go through them four times
// over. A node's properties come before its children, so it is complete at the next node's begin or its own end.
static void walk(struct reader *r) {
    struct place at = {.depth = -1};
    struct traits traits = {0};
    int depth = -1, next = 0;
    bool pending = false;

    for (int offset = 0; offset >= 0; offset = next) {
        const u32 tag = fdt_next_tag(r->fdt, offset, &next);
        if (tag == FDT_PROP && pending)
            note_property(r->fdt, offset, &traits);
        if (tag == FDT_PROP || tag == FDT_NOP)
            continue;
        if (pending)
            visit(r, &at, &traits);
        pending = tag == FDT_BEGIN_NODE && ++depth < MAX_DEPTH;
        if (pending) {
            at.node[depth] = offset;
            at.depth = depth;
            traits = (struct traits){0};
        }
        if (tag == FDT_END_NODE)
            depth--;
        else if (tag == FDT_END)
            break;
    }
}

// ── /chosen ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// Goes down from the root; depth stays -1 if the path leads nowhere.
static struct place place_of_path(const void *fdt, const char *path, int length) {
    struct place at = {.depth = 0};
    const char *end = path + length;
    while (path < end) {
        const char *name = path;
        while (path < end && *path != '/')
            path++;
        if (path > name) {
            const int node = fdt_subnode_offset_namelen(fdt, self(&at), name, (int)(path - name));
            if (node < 0 || at.depth + 1 >= MAX_DEPTH)
                return (struct place){.depth = -1};
            at.node[++at.depth] = node;
        }
        if (path < end)
            path++;
    }
    return at;
}

// stdout-path: a path or an alias, then perhaps a colon and options of no interest ("serial0:115200n8").
static struct place stdout_place(const struct reader *r) {
    static const char *const names[] = {"stdout-path", "linux,stdout-path"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        int size = 0, n = 0;
        const char *path = fdt_getprop(r->fdt, r->chosen, names[i], &size);
        while (path && n < size && path[n] && path[n] != ':')
            n++;
        if (n == 0)
            continue;
        if (path[0] == '/')
            return place_of_path(r->fdt, path, n);
        path = r->aliases < 0 ? nullptr : fdt_getprop_namelen(r->fdt, r->aliases, path, n, &size);
        if (path)
            return place_of_path(r->fdt, path, (int)strnlen(path, (size_t)size));
    }
    return (struct place){.depth = -1};
}

static void read_chosen(struct reader *r) {
    struct board *board = r->board;
    u64 start, end;
    if (r->chosen < 0)
        return;
    prop_string(r->fdt, r->chosen, "bootargs", board->cmdline, sizeof(board->cmdline));
    if (prop_u32_or_u64(r->fdt, r->chosen, "linux,initrd-start", &start) &&
        prop_u32_or_u64(r->fdt, r->chosen, "linux,initrd-end", &end) && start < end) {
        board->bundle = (struct region){start, end - start};
        board_reserve(board, board->bundle);
    }
    const struct place console = stdout_place(r);
    if (console.depth > 0)
        r->console = console;
}

int fdt_read_board(const void *fdt, u64 max_size, struct board *board, char *why, size_t why_size) {
    struct reader r = {
        .fdt = fdt,
        .board = board,
        .chosen = -1,
        .aliases = -1,
        .console.depth = -1,
        .irqchip.depth = -1,
        .imsic.depth = -1,
        .timer.depth = -1,
        .cpu = -1,
    };
    *board = (struct board){0};
    if (why_size)
        why[0] = '\0';
    if (!fdt || max_size == 0) {
        snprintf(why, why_size, "no device tree was given");
        return -EINVAL;
    }
    const int err = fdt_check_full(fdt, max_size);
    if (err) {
        snprintf(why, why_size, "the device tree at 0x%llx is malformed: %s", (unsigned long long)(uintptr_t)fdt,
                 fdt_strerror(err));
        return -EINVAL;
    }
    board->fdt = (struct region){(u64)(uintptr_t)fdt, fdt_totalsize(fdt)};
    board_reserve(board, board->fdt);
    read_reservation_block(&r);
    walk(&r);
    read_chosen(&r);
    prop_string(fdt, 0, "model", board->model, sizeof(board->model));
    if (!board->model[0])
        prop_string(fdt, 0, "compatible", board->model, sizeof(board->model));
    read_irqchip(&r);
    read_timer(&r);
    read_uart(&r);
    board_regions_done(board);
    if (board->memory_count == 0) {
        snprintf(why, why_size, "the device tree has no usable memory node");
        return -EINVAL;
    }
    return 0;
}
