// SPDX-License-Identifier: Apache-2.0
#include "gmem.h"

#include <string.h>

#include "arch.h"
#include "page.h"
#include "task.h"
#include "vm.h"

enum { COPY_CHUNK = 256 * 1024 }; // about 10 µs of copying

// ── Creation ────────────────────────────────────────────────────────────────────────────────────────────────────────
static void extents_free(struct vm *vm) {
    for (u32 i = 0; i < vm->extent_count; i++)
        page_free_blocks(vm->extents[i].pa, (u32)(vm->extents[i].size / BLOCK_SIZE));
    vm->extent_count = 0;
}

// RAM below the hole.
static u64 low_size(const struct vm *vm) {
    return vm->hole.size ? MIN(vm->cfg.memory, vm->hole.start.v - vm->ram.v) : vm->cfg.memory;
}

static int extents_alloc(struct vm *vm) {
    const u64 low = low_size(vm);
    vm->extent_count = 0;
    for (u64 done = 0; done < vm->cfg.memory;) {
        const u64 left = (done < low ? low : vm->cfg.memory) - done;
        pa_t base;
        u32 blocks = 0;
        if (vm->extent_count < VM_MAX_EXTENTS)
            blocks = page_alloc_blocks((u32)(left / BLOCK_SIZE), &base);
        if (!blocks) {
            extents_free(vm);
            return -ENOMEM;
        }
        u64 size = blocks * BLOCK_SIZE;
        const gpa_t at = gpa(vm->ram.v + done + (done < low ? 0 : vm->hole.size));
        vm->extents[vm->extent_count++] = (struct extent){at, base, size};
        done += size;
    }
    return 0;
}

int gmem_create(struct vm *vm) {
    BUG_ON(!vm->cfg.memory || vm->cfg.memory % BLOCK_SIZE);
    vm->ram = gpa(arch_guest_ram_base());
    vm->hole = arch_guest_ram_hole();
    BUG_ON((vm->hole.start.v | vm->hole.size) % BLOCK_SIZE);
    int err = extents_alloc(vm);
    if (err)
        return err;
    for (u32 i = 0; i < vm->extent_count; i++) {
        const struct extent *e = &vm->extents[i];
        err = pgtable_map(&vm->s2, e->gpa.v, e->pa, e->size, PT_READ | PT_WRITE | PT_EXEC);
        if (err) {
            gmem_destroy(vm);
            return err;
        }
    }
    return 0;
}

void gmem_destroy(struct vm *vm) {
    // Only whole extents are unmapped, and leaves never reach over the end of one: nothing is split, nothing can fail.
    for (u32 i = 0; i < vm->extent_count; i++)
        BUG_ON(pgtable_unmap(&vm->s2, vm->extents[i].gpa.v, vm->extents[i].size));
    extents_free(vm);
}

void gmem_scrub(struct vm *vm) {
    for (u32 i = 0; i < vm->extent_count; i++) {
        const struct extent *e = &vm->extents[i];
        for (u64 at = 0; at < e->size; at += BLOCK_SIZE) {
            char *block = (char *)(uintptr_t)(e->pa.v + at);
            arch_zero(block, BLOCK_SIZE);
            // A guest that reads past the caches must not find what was in this memory before it was the guest's.
            if (vm->starts == 0)
                arch_vm_sync_code(block, BLOCK_SIZE);
            task_breathe();
        }
    }
}

// ── Access ──────────────────────────────────────────────────────────────────────────────────────────────────────────
// Extents lie one after the other from vm->ram on, with no other gap than the hole, so a range is checked against all
// of them at once. The end of either part counts as in it, for a range of no bytes.
static bool in_part(u64 start, u64 part_size, u64 at, u64 size) {
    u64 offset = at - start;
    return at >= start && offset <= part_size && size <= part_size - offset;
}

bool gmem_contains(const struct vm *vm, gpa_t at, u64 size) {
    const u64 low = low_size(vm), high = vm->cfg.memory - low;
    if (!vm->extent_count)
        return false;
    return in_part(vm->ram.v, low, at.v, size) || (high && in_part(vm->hole.start.v + vm->hole.size, high, at.v, size));
}

// The host's address of guest RAM, and how many bytes are contiguous from there.
static char *host_address(const struct vm *vm, gpa_t at, u64 *left) {
    u32 low = 0, high = vm->extent_count;
    while (high - low > 1) {
        u32 mid = (low + high) / 2;
        if (at.v >= vm->extents[mid].gpa.v)
            low = mid;
        else
            high = mid;
    }
    const struct extent *e = &vm->extents[low];
    u64 offset = at.v - e->gpa.v;
    *left = e->size - offset;
    return (char *)(uintptr_t)(e->pa.v + offset);
}

void *gmem_ptr(struct vm *vm, gpa_t at, u64 size) {
    u64 left;
    if (!gmem_contains(vm, at, size))
        return NULL;
    char *p = host_address(vm, at, &left);
    return left && size <= left ? p : NULL; // none left: a part's end
}

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_ZERO };

static int access(struct vm *vm, gpa_t at, void *to, const void *from, u64 size, enum access what) {
    if (!gmem_contains(vm, at, size))
        return -EFAULT;
    for (u64 done = 0; done < size;) {
        u64 left;
        char *p = host_address(vm, gpa(at.v + done), &left);
        u64 chunk = MIN(MIN(left, size - done), (u64)COPY_CHUNK);
        switch (what) {
        case ACCESS_READ:
            memcpy((char *)to + done, p, chunk);
            break;
        case ACCESS_WRITE:
            memcpy(p, (const char *)from + done, chunk);
            break;
        case ACCESS_ZERO:
            memset(p, 0, chunk);
            break;
        }
        done += chunk;
        if (done < size && size > PAGE_SIZE)
            task_breathe();
    }
    return 0;
}

int gmem_read(struct vm *vm, gpa_t from, void *to, u64 size) {
    return access(vm, from, to, NULL, size, ACCESS_READ);
}

int gmem_write(struct vm *vm, gpa_t to, const void *from, u64 size) {
    return access(vm, to, NULL, from, size, ACCESS_WRITE);
}

int gmem_zero(struct vm *vm, gpa_t to, u64 size) {
    return access(vm, to, NULL, NULL, size, ACCESS_ZERO);
}
