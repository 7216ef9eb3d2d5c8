// SPDX-License-Identifier: Apache-2.0
// The guest's own page tables: none, 32-bit, PAE, 4 levels (AMD64 APM volume 2, chapter 5). They are read at the time
// and never remembered; a guest that changes them at the same moment gets the old or the new translation, as on
// hardware.
#include "gmem.h"
#include "virt.h"

#define PTE_PRESENT BIT(0)
#define PTE_WRITABLE BIT(1)
#define PTE_USER BIT(2)
#define PTE_ACCESSED BIT(5)
#define PTE_DIRTY BIT(6)
#define PTE_LARGE BIT(7)
#define PTE_NO_EXECUTE BIT(63)
#define PTE_ADDRESS BITS(51, 12)
#define RFLAGS_AC BIT(18)
enum : u32 { PF_PRESENT = 1, PF_USER = 4 };

// What the entries on the way allow, all of them.
struct rights {
    bool writable, user, no_execute;
};

static bool allowed(const struct x86_mode *m, const struct rights *r, u32 access) {
    bool user_mode = m->cpl == 3;
    if (user_mode && !r->user)
        return false;
    if ((access & WALK_WRITE) && !r->writable && (user_mode || (m->cr0 & CR0_WP)))
        return false;
    if (access & WALK_FETCH)
        return !(r->no_execute && (m->efer & EFER_NXE)) && (user_mode || !r->user || !(m->cr4 & CR4_SMEP));
    return user_mode || !r->user || !(m->cr4 & CR4_SMAP) || (m->rflags & RFLAGS_AC);
}

static u32 error_code(const struct x86_mode *m, u32 access, bool present) {
    bool tells_fetch = (m->efer & EFER_NXE) || (m->cr4 & CR4_SMEP);
    return (present ? PF_PRESENT : 0) | (access & WALK_WRITE) | (m->cpl == 3 ? PF_USER : 0) |
           (tells_fetch ? access & WALK_FETCH : 0);
}

static u64 entry_read(const void *at, u32 size) {
    return size == 8 ? __atomic_load_n((const u64 *)at, __ATOMIC_RELAXED)
                     : __atomic_load_n((const u32 *)at, __ATOMIC_RELAXED);
}

static void entry_mark(void *at, u32 size, u64 old, u64 bits) {
    if (!(bits & ~old))
        return;
    if (size == 8)
        __atomic_fetch_or((u64 *)at, bits, __ATOMIC_RELAXED);
    else
        __atomic_fetch_or((u32 *)at, (u32)bits, __ATOMIC_RELAXED);
}

// What happens at the entry that names the page.
static int leaf(const struct x86_mode *m, const struct rights *r, u32 access, void *at, u32 size, u64 entry,
                u32 *error) {
    if (unlikely(!allowed(m, r, access))) {
        *error = error_code(m, access, true);
        return -EFAULT;
    }
    entry_mark(at, size, entry, PTE_ACCESSED | (access & WALK_WRITE ? PTE_DIRTY : 0));
    return 0;
}

// 4 levels of 8-byte entries: by itself, because every access to a device comes here where the hardware does not hand
// over the instruction. It leaves the entries in v->arch.fetch.
static int walk_long(struct vcpu *v, const struct x86_mode *m, u64 linear, u32 access, u64 *gpa_out, u32 *error) {
    struct x86_fetch *seen = &v->arch.fetch;
    u64 table = m->cr3 & PTE_ADDRESS, all = ~0ull, any = 0;
    for (u32 shift = 39, level = 0;; shift -= 9, level++) {
        u64 *at = gmem_ptr(v->vm, gpa(table | (linear >> shift & 511) << 3), 8);
        u64 entry = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0;
        if (unlikely(!(entry & PTE_PRESENT))) {
            *error = error_code(m, access, false);
            return -EFAULT;
        }
        all &= entry;
        any |= entry;
        if (shift == PAGE_SHIFT || ((entry & PTE_LARGE) && shift < 39)) {
            const struct rights r = {all & PTE_WRITABLE, all & PTE_USER, any & PTE_NO_EXECUTE};
            u64 offset = BIT(shift) - 1;
            *gpa_out = (entry & PTE_ADDRESS & ~offset) | (linear & offset);
            for (; level < ARRAY_SIZE(seen->entry); level++) {
                seen->entry[level] = at;
                seen->value[level] = entry | PTE_ACCESSED;
            }
            return leaf(m, &r, access, at, 8, entry, error);
        }
        seen->entry[level] = at;
        seen->value[level] = entry | PTE_ACCESSED;
        entry_mark(at, 8, entry, PTE_ACCESSED);
        table = entry & PTE_ADDRESS;
    }
}

// The two levels of 4-byte entries, or three of 8-byte ones, the first of which has no rights.
static int walk_legacy(struct vcpu *v, const struct x86_mode *m, u32 linear, u32 access, u64 *gpa_out, u32 *error) {
    bool pae = m->cr4 & CR4_PAE;
    u32 size = pae ? 8 : 4, index_bits = pae ? 9 : 10;
    u64 table = m->cr3 & (pae ? BITS(31, 5) : BITS(31, 12)), address = pae ? PTE_ADDRESS : BITS(31, 12);
    struct rights r = {true, true, false};
    for (u32 level = pae ? 2 : 1;; level--) {
        u32 shift = PAGE_SHIFT + index_bits * level;
        void *at = gmem_ptr(v->vm, gpa(table + (linear >> shift & (BIT(index_bits) - 1)) * size), size);
        u64 entry = at ? entry_read(at, size) : 0;
        if (!(entry & PTE_PRESENT)) {
            *error = error_code(m, access, false);
            return -EFAULT;
        }
        table = entry & address;
        if (level == 2)
            continue;
        r.writable = r.writable && (entry & PTE_WRITABLE);
        r.user = r.user && (entry & PTE_USER);
        r.no_execute = r.no_execute || (pae && (entry & PTE_NO_EXECUTE));
        bool large = (entry & PTE_LARGE) && (pae || (m->cr4 & CR4_PSE));
        if (level == 1 && !large) {
            entry_mark(at, size, entry, PTE_ACCESSED);
            continue;
        }
        if (level == 1 && !pae) // PSE-36: address bits 39-32 in bits 20-13
            table = (entry & BITS(31, 22)) | field_get(BITS(20, 13), entry) << 32;
        u64 offset = BIT(shift) - 1;
        *gpa_out = (table & ~offset) | (linear & offset);
        return leaf(m, &r, access, at, size, entry, error);
    }
}

int walk(struct vcpu *v, const struct x86_mode *m, u64 linear, u32 access, u64 *gpa_out, u32 *error) {
    if (likely((m->efer & EFER_LMA)))
        return walk_long(v, m, linear, access, gpa_out, error);
    if (m->cr0 & CR0_PG)
        return walk_legacy(v, m, (u32)linear, access, gpa_out, error);
    *gpa_out = (u32)linear;
    return 0;
}
