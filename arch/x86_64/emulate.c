// SPDX-License-Identifier: Apache-2.0
// Instructions that touch a device's registers: the guest came out in the middle of one, and the hypervisor does what
// is left of it. An exit serves one access. An instruction that reads and writes takes two: after the first the next
// arch_vcpu_run gives out the second at once, without entering the guest.
//
// Where the hardware does not hand over the instruction's bytes they are fetched through the guest's page tables. If
// they cannot be, or are another instruction by now (another vCPU may write there), the guest goes on and faults, or
// comes out again, by itself.
#include <string.h>

#include "alu.h"
#include "gmem.h"
#include "virt.h"

enum emulate_phase {
    EMULATE_NONE,
    EMULATE_READ,       // a device's register is being read
    EMULATE_READ_OTHER, // of two in memory, the second one
    EMULATE_WRITE_NEXT, // `value` is to be written to `gpa`
    EMULATE_WRITE,      // is being written; the instruction's last access
    EMULATE_PORT_READ,  // INS
    EMULATE_PORT_WRITE, // OUTS
};

enum { INSN_BYTES = 16 };
#define FLAG_ZF BIT(6)

static u64 size_mask(u32 size) {
    return size >= 8 ? ~0ull : BIT(8 * size) - 1;
}

// ── Fetching ────────────────────────────────────────────────────────────────────────────────────────────────────────
// Up to `count` bytes, at most INSN_BYTES, that lie on one page from there on; how many, 0: none.
static u32 fetch_page(struct vcpu *v, const struct x86_mode *m, u64 linear, u8 *to, u32 count) {
    struct x86_fetch *fetch = &v->arch.fetch;
    u64 at;
    fetch->from = nullptr;
    u32 error, left = (u32)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    if (unlikely(walk(v, m, linear, WALK_FETCH, &at, &error) != 0))
        return 0;
    if (likely(count == INSN_BYTES && left >= INSN_BYTES)) {
        static_assert(sizeof(fetch->bytes) == INSN_BYTES);
        const u64 *from = gmem_ptr(v->vm, gpa(at), INSN_BYTES);
        if (!from)
            return 0;
        fetch->from = from;
        fetch->bytes[0] = guest_load(from);
        fetch->bytes[1] = guest_load(from + 1);
        __builtin_memcpy(to, fetch->bytes, INSN_BYTES); // no call
        return INSN_BYTES;
    }
    count = MIN(count, left);
    return gmem_read(v->vm, gpa(at), to, count) == 0 ? count : 0;
}

// Decodes what RIP points at. 0; -EFAULT: it cannot be fetched; -EINVAL: it is nothing that we know.
static int decode(struct vcpu *v, const struct x86_mode *m, const u8 *bytes, u32 count, struct x86_insn *insn) {
    u8 own[INSN_BYTES];
    if (bytes && count && x86_insn_decode(bytes, count, m->code_bits, insn))
        return 0;
    u64 linear = v->arch.rip;
    if (m->code_bits != 64)
        linear = (u32)(linear + virt->segment_base(v, SEG_CS));
    count = fetch_page(v, m, linear, own, INSN_BYTES);
    if (unlikely(!count))
        return -EFAULT;
    if (likely(x86_insn_decode(own, count, m->code_bits, insn)))
        return 0;
    if (count == INSN_BYTES)
        return -EINVAL;
    u32 more = fetch_page(v, m, linear + count, own + count, INSN_BYTES - count);
    if (!more)
        return -EFAULT;
    return x86_insn_decode(own, count + more, m->code_bits, insn) ? 0 : -EINVAL;
}

static inline bool is_known(const struct x86_known *known, u64 at, const struct x86_mode *m) {
    const struct x86_fetch *f = &known->fetch;
    if (known->at != at || known->cr3 != m->cr3 || m->code_bits != 64 || !f->from)
        return false;
    u64 changed = (guest_load(f->from) ^ f->bytes[0]) | (guest_load(f->from + 1) ^ f->bytes[1]);
    for (u32 i = 0; i < ARRAY_SIZE(f->entry); i++)
        changed |= __atomic_load_n(f->entry[i], __ATOMIC_RELAXED) ^ f->value[i];
    return changed == 0;
}

// As decode(), of an instruction that accesses a device. Drivers do so at few places, each many times.
static int decode_again(struct vcpu *v, const struct x86_mode *m, const u8 *bytes, u32 count, struct x86_insn *insn) {
    struct arch_vcpu *a = &v->arch;
    struct x86_known *known = &a->known[a->rip / 2 % X86_KNOWN];
    if (likely(is_known(known, a->rip, m))) {
        *insn = known->insn;
        return 0;
    }
    a->fetch.from = nullptr;
    int err = decode(v, m, bytes, count, insn);
    if (!err && m->code_bits == 64 && a->fetch.from)
        *known = (struct x86_known){a->rip, m->cr3, a->fetch, *insn};
    return err;
}

u32 emulate_length(struct vcpu *v) {
    struct x86_mode m;
    struct x86_insn insn;
    virt->mode(v, &m);
    return decode(v, &m, nullptr, 0, &insn) == 0 ? insn.length : 0;
}

bool emulate_is_call(struct vcpu *v) {
    struct x86_mode m;
    struct x86_insn insn;
    virt->mode(v, &m);
    if (decode(v, &m, nullptr, 0, &insn) != 0 || insn.op != X86_OP_SYSTEM || insn.system != X86_SYS_CALL)
        return false;
    v->arch.next_rip = v->arch.rip + insn.length;
    return true;
}

bool emulate_mov_cr(struct vcpu *v, u64 *value) {
    struct x86_mode m;
    struct x86_insn insn;
    virt->mode(v, &m);
    if (decode(v, &m, nullptr, 0, &insn) != 0 || insn.op != X86_OP_SYSTEM || insn.system != X86_SYS_MOV_TO_CR)
        return false;
    *value = guest_read_gpr(v, insn.rm_reg, insn.size, false);
    return true;
}

// ── Operands ────────────────────────────────────────────────────────────────────────────────────────────────────────
static u64 in_segment(struct vcpu *v, const struct x86_mode *m, u32 segment, u64 offset) {
    if (m->code_bits == 64)
        return segment == SEG_FS || segment == SEG_GS ? offset + virt->segment_base(v, segment) : offset;
    return (u32)(offset + virt->segment_base(v, segment));
}

// The linear address of a ModRM or moffs operand.
static u64 operand_linear(struct vcpu *v, const struct x86_mode *m, const struct x86_insn *insn) {
    u64 offset = (u64)insn->disp;
    if (insn->base == X86_REG_RIP)
        offset += v->arch.rip + insn->length;
    else if (insn->base != X86_NO_REG)
        offset += guest_gpr(v, insn->base);
    if (insn->index != X86_NO_REG)
        offset += guest_gpr(v, insn->index) * insn->scale;
    bool stack = insn->base == X86_RSP || insn->base == X86_RBP;
    u32 segment = insn->segment != X86_SEG_DEFAULT ? insn->segment : stack ? SEG_SS : SEG_DS;
    return in_segment(v, m, segment, offset & size_mask(insn->address_size));
}

// A string instruction's operand, by RSI or RDI, within one page of RAM or devices. False: the guest gets an exception.
static bool string_operand(struct vcpu *v, const struct x86_mode *m, const struct x86_insn *insn, u32 reg, u32 access,
                           u64 *gpa_out) {
    u32 segment = reg == X86_RDI ? SEG_ES : insn->segment != X86_SEG_DEFAULT ? insn->segment : SEG_DS;
    u64 linear = in_segment(v, m, segment, guest_gpr(v, reg) & size_mask(insn->address_size));
    u32 error;
    if (m->code_bits == 64 && (u64)((s64)(linear << 16) >> 16) != linear) {
        guest_gp(v);
        return false;
    }
    if (walk(v, m, linear, access, gpa_out, &error) != 0) {
        guest_page_fault(v, linear, error);
        return false;
    }
    if ((*gpa_out & (PAGE_SIZE - 1)) + insn->size > PAGE_SIZE) {
        guest_gp(v); // across two pages, one of them perhaps a device's: nobody does that
        return false;
    }
    return true;
}

static u64 register_operand(const struct vcpu *v, const struct x86_insn *insn) {
    if (insn->immediate)
        return (u64)insn->imm & size_mask(insn->size);
    return insn->reg == X86_NO_REG ? 0 : guest_read_gpr(v, insn->reg, insn->size, insn->high_byte);
}

// ── Exits ───────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool out_read(struct vcpu *v, struct vexit *exit, u64 at, u32 size, enum emulate_phase phase) {
    v->arch.emulation.phase = (u8)phase;
    exit->kind = VEXIT_MMIO;
    exit->gpa = at;
    exit->size = (u8)size;
    exit->write = false;
    return false;
}

static bool out_write(struct vcpu *v, struct vexit *exit, u64 at, u32 size, u64 value) {
    v->arch.emulation.phase = EMULATE_WRITE;
    exit->kind = VEXIT_MMIO;
    exit->gpa = at;
    exit->size = (u8)size;
    exit->write = true;
    exit->value = value & size_mask(size);
    return false;
}

static bool out_fault(struct vcpu *v, struct vexit *exit) {
    v->arch.emulation.phase = EMULATE_NONE;
    exit->kind = VEXIT_FAULT;
    return false;
}

// The write that follows a read: in the next arch_vcpu_run.
static void write_next(struct vcpu *v, u64 value) {
    struct x86_emulation *e = &v->arch.emulation;
    e->value = value;
    e->phase = EMULATE_WRITE_NEXT;
    v->arch.work |= X86_WORK_MORE;
}

bool emulate_continue(struct vcpu *v, struct vexit *exit) {
    struct x86_emulation *e = &v->arch.emulation;
    v->arch.work &= ~(u32)X86_WORK_MORE;
    if (e->phase == EMULATE_WRITE_NEXT)
        return out_write(v, exit, e->gpa, e->insn.size, e->value);
    if (e->phase == EMULATE_READ_OTHER)
        return out_read(v, exit, e->other, e->insn.size, EMULATE_READ_OTHER);
    return true;
}

// ── String instructions ─────────────────────────────────────────────────────────────────────────────────────────────
static bool string_uses(enum x86_op op, u32 reg) {
    if (reg == X86_RSI)
        return op == X86_OP_MOVS || op == X86_OP_CMPS || op == X86_OP_LODS || op == X86_OP_OUTS;
    return op != X86_OP_LODS && op != X86_OP_OUTS;
}

static void advance(struct vcpu *v, const struct x86_insn *insn, u32 reg, s64 by) {
    u64 value = guest_gpr(v, reg) + (u64)by;
    guest_write_gpr(v, reg, insn->address_size, false, value);
}

// One element is done. A repeated instruction stays where it is until the count, or the comparison, says otherwise;
// interrupts come between its elements, and a single step's trap behind each.
static void string_done(struct vcpu *v) {
    struct x86_emulation *e = &v->arch.emulation;
    const struct x86_insn *insn = &e->insn;
    u64 rflags = virt->get(v, GUEST_RFLAGS);
    s64 by = rflags & RFLAGS_DF ? -(s64)insn->size : insn->size;
    e->phase = EMULATE_NONE;
    if (string_uses(insn->op, X86_RSI))
        advance(v, insn, X86_RSI, by);
    if (string_uses(insn->op, X86_RDI))
        advance(v, insn, X86_RDI, by);
    if (insn->rep || insn->repne) {
        advance(v, insn, X86_RCX, -1);
        bool compares = insn->op == X86_OP_CMPS || insn->op == X86_OP_SCAS;
        bool ends = compares && !(rflags & FLAG_ZF) == insn->rep;
        if ((guest_gpr(v, X86_RCX) & size_mask(insn->address_size)) && !ends) {
            if (!(rflags & RFLAGS_TF))
                return;
            v->arch.next_rip = v->arch.rip;
        }
    }
    guest_step(v);
}

static bool is_ram(struct vcpu *v, u64 at, u32 size) {
    return gmem_ptr(v->vm, gpa(at), size) != nullptr;
}

static u64 ram_read(struct vcpu *v, u64 at, u32 size) {
    u64 value = 0;
    (void)!gmem_read(v->vm, gpa(at), &value, size); // is_ram() has said so
    return value;
}

// MOVS: from RAM to a device, from a device to RAM, or from one device to another.
static bool start_movs(struct vcpu *v, const struct x86_mode *m, struct vexit *exit) {
    struct x86_emulation *e = &v->arch.emulation;
    const struct x86_insn *insn = &e->insn;
    u64 from, to;
    if (!string_operand(v, m, insn, X86_RSI, WALK_READ, &from) || !string_operand(v, m, insn, X86_RDI, WALK_WRITE, &to))
        return true;
    e->gpa = to;
    if (is_ram(v, from, insn->size))
        return out_write(v, exit, to, insn->size, ram_read(v, from, insn->size));
    return out_read(v, exit, from, insn->size, EMULATE_READ);
}

static bool start_cmps(struct vcpu *v, const struct x86_mode *m, struct vexit *exit) {
    struct x86_emulation *e = &v->arch.emulation;
    const struct x86_insn *insn = &e->insn;
    u64 first;
    if (!string_operand(v, m, insn, X86_RSI, WALK_READ, &first) ||
        !string_operand(v, m, insn, X86_RDI, WALK_READ, &e->other))
        return true;
    if (!is_ram(v, first, insn->size))
        return out_read(v, exit, first, insn->size, EMULATE_READ);
    e->value = ram_read(v, first, insn->size);
    return out_read(v, exit, e->other, insn->size, EMULATE_READ_OTHER);
}

static bool start_string(struct vcpu *v, const struct x86_mode *m, u64 at, bool write, struct vexit *exit) {
    const struct x86_insn *insn = &v->arch.emulation.insn;
    if (unlikely(insn->op != X86_OP_MOVS && write != (insn->op == X86_OP_STOS)))
        return true; // it is another one by now
    if ((at & (PAGE_SIZE - 1)) + insn->size > PAGE_SIZE)
        return out_fault(v, exit);
    switch (insn->op) {
    case X86_OP_MOVS:
        return start_movs(v, m, exit);
    case X86_OP_CMPS:
        return start_cmps(v, m, exit);
    case X86_OP_STOS:
        return out_write(v, exit, at, insn->size, v->arch.gpr[X86_RAX]);
    case X86_OP_LODS:
    case X86_OP_SCAS:
        return out_read(v, exit, at, insn->size, EMULATE_READ);
    default: // INS and OUTS between a port and a device's memory
        return out_fault(v, exit);
    }
}

// ── Starting ────────────────────────────────────────────────────────────────────────────────────────────────────────
static bool writes_memory(const struct x86_insn *insn) {
    return insn->direction == X86_MEM_IS_DEST && insn->op != X86_OP_CMP && insn->op != X86_OP_TEST &&
           insn->op != X86_OP_BT;
}

// The hardware came out for a read, and the instruction also writes; whether the guest may write there has not been
// looked at. False: it may not and gets its page fault, or this is no instruction that reads.
static bool may_write_too(struct vcpu *v, const struct x86_mode *m, const struct x86_insn *insn, bool write) {
    u64 linear = operand_linear(v, m, insn), gpa;
    u32 error;
    if (write || insn->op == X86_OP_MOV)
        return false;
    if (walk(v, m, linear, WALK_WRITE, &gpa, &error) == 0)
        return true;
    guest_page_fault(v, linear, error);
    return false;
}

bool emulate_mmio(struct vcpu *v, u64 at, bool write, const u8 *bytes, u32 count, struct vexit *exit) {
    struct arch_vcpu *a = &v->arch;
    struct x86_insn *insn = &a->emulation.insn;
    struct x86_mode m;
    virt->mode(v, &m);
    int err = decode_again(v, &m, bytes, count, insn);
    if (unlikely(err == -EFAULT))
        return true; // the guest finds out
    if (unlikely(err || insn->op == X86_OP_SYSTEM))
        return out_fault(v, exit);
    a->next_rip = a->rip + insn->length;
    if (m.code_bits != 64)
        a->next_rip = (u32)a->next_rip;
    if (unlikely(!insn->memory))
        return start_string(v, &m, at, write, exit);
    if (unlikely(write != writes_memory(insn)) && !may_write_too(v, &m, insn, write))
        return true; // it is another one by now, or the guest gets an exception
    // At the start of a page it may be the second half of an access that began on the one before.
    if (unlikely(!(at & (PAGE_SIZE - 1)) && (operand_linear(v, &m, insn) & (PAGE_SIZE - 1))))
        return out_fault(v, exit);
    if (unlikely((at & (PAGE_SIZE - 1)) + insn->src_size > PAGE_SIZE))
        return out_fault(v, exit);
    a->emulation.gpa = at;
    if (insn->op == X86_OP_MOV && insn->direction == X86_MEM_IS_DEST)
        return out_write(v, exit, at, insn->size, register_operand(v, insn));
    return out_read(v, exit, at, insn->src_size, EMULATE_READ);
}

bool emulate_string_io(struct vcpu *v, bool in, u32 size, struct vexit *exit) {
    struct x86_emulation *e = &v->arch.emulation;
    struct x86_mode m;
    virt->mode(v, &m);
    if (decode(v, &m, nullptr, 0, &e->insn) != 0 || e->insn.op != (in ? X86_OP_INS : X86_OP_OUTS) ||
        e->insn.size != size)
        return true; // it is another one by now, whose right to these ports nobody has looked at
    if ((e->insn.rep || e->insn.repne) && !(v->arch.gpr[X86_RCX] & size_mask(e->insn.address_size))) {
        guest_step(v);
        return true;
    }
    if (!string_operand(v, &m, &e->insn, in ? X86_RDI : X86_RSI, in ? WALK_WRITE : WALK_READ, &e->gpa))
        return true;
    if (!is_ram(v, e->gpa, e->insn.size))
        return out_fault(v, exit);
    e->phase = in ? EMULATE_PORT_READ : EMULATE_PORT_WRITE;
    exit->kind = VEXIT_PIO;
    exit->gpa = v->arch.gpr[X86_RDX] & 0xffff;
    exit->size = e->insn.size;
    exit->write = !in;
    exit->value = in ? 0 : ram_read(v, e->gpa, e->insn.size);
    return false;
}

// ── Finishing ───────────────────────────────────────────────────────────────────────────────────────────────────────
static void compare(struct vcpu *v, u32 size, u64 left, u64 right) {
    u64 rflags = virt->get(v, GUEST_RFLAGS);
    (void)x86_alu(X86_OP_CMP, size, left, right, &rflags);
    virt->set(v, GUEST_RFLAGS, rflags);
}

static void finish_string_read(struct vcpu *v, u64 value) {
    struct x86_emulation *e = &v->arch.emulation;
    const struct x86_insn *insn = &e->insn;
    switch (insn->op) {
    case X86_OP_MOVS:
        if (!is_ram(v, e->gpa, insn->size)) {
            write_next(v, value);
            return;
        }
        [[fallthrough]];
    case X86_OP_INS:
        (void)!gmem_write(v->vm, gpa(e->gpa), &value, insn->size);
        break;
    case X86_OP_CMPS:
        if (e->phase == EMULATE_READ && !is_ram(v, e->other, insn->size)) {
            e->value = value;
            e->phase = EMULATE_READ_OTHER;
            v->arch.work |= X86_WORK_MORE;
            return;
        }
        if (e->phase == EMULATE_READ)
            compare(v, insn->size, value, ram_read(v, e->other, insn->size));
        else
            compare(v, insn->size, e->value, value);
        break;
    case X86_OP_SCAS:
        compare(v, insn->size, v->arch.gpr[X86_RAX], value);
        break;
    default: // LODS
        guest_write_gpr(v, X86_RAX, insn->size, false, value);
        break;
    }
    string_done(v);
}

static void finish_cmpxchg(struct vcpu *v, u64 value) {
    const struct x86_insn *insn = &v->arch.emulation.insn;
    u64 expected = guest_read_gpr(v, X86_RAX, insn->size, false);
    compare(v, insn->size, expected, value);
    if (expected != value)
        guest_write_gpr(v, X86_RAX, insn->size, false, value);
    write_next(v, expected == value ? register_operand(v, insn) : value); // it writes in any case
}

// The value of a memory operand has been read.
static void finish_read(struct vcpu *v, u64 value) {
    struct x86_emulation *e = &v->arch.emulation;
    const struct x86_insn *insn = &e->insn;
    u32 unused = 64 - 8u * insn->src_size;
    u64 rflags, result;
    value &= size_mask(insn->src_size);
    switch (insn->op) {
    case X86_OP_MOVSX:
        value = (u64)((s64)(value << unused) >> unused);
        [[fallthrough]];
    case X86_OP_MOV:
    case X86_OP_MOVZX:
        guest_write_gpr(v, insn->reg, insn->size, insn->high_byte, value);
        break;
    case X86_OP_CMPXCHG:
        finish_cmpxchg(v, value);
        return;
    case X86_OP_XCHG:
        result = register_operand(v, insn);
        guest_write_gpr(v, insn->reg, insn->size, insn->high_byte, value);
        write_next(v, result);
        return;
    default:
        rflags = virt->get(v, GUEST_RFLAGS);
        bool to_reg = insn->direction == X86_MEM_IS_SRC;
        u64 other = register_operand(v, insn);
        result = x86_alu(insn->op, insn->size, to_reg ? other : value, to_reg ? value : other, &rflags);
        virt->set(v, GUEST_RFLAGS, rflags);
        if (insn->op == X86_OP_XADD)
            guest_write_gpr(v, insn->reg, insn->size, insn->high_byte, value);
        if (writes_memory(insn)) {
            write_next(v, result);
            return;
        }
        if (to_reg && insn->op != X86_OP_CMP)
            guest_write_gpr(v, insn->reg, insn->size, insn->high_byte, result);
        break;
    }
    e->phase = EMULATE_NONE;
    guest_step(v);
}

void emulate_finish(struct vcpu *v, const struct vexit *exit, u64 value) {
    struct x86_emulation *e = &v->arch.emulation;
    (void)exit;
    if (e->phase == EMULATE_READ && e->insn.memory) {
        finish_read(v, value);
    } else if (e->phase == EMULATE_WRITE && e->insn.memory) {
        e->phase = EMULATE_NONE;
        guest_step(v);
    } else if (e->phase == EMULATE_READ || e->phase == EMULATE_READ_OTHER || e->phase == EMULATE_PORT_READ) {
        finish_string_read(v, value & size_mask(e->insn.size));
    } else {
        string_done(v);
    }
}
