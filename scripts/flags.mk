# SPDX-License-Identifier: Apache-2.0
# The flags of every compilation.

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla -Wundef -Wmissing-prototypes -Werror -Wno-gnu
BASE := -std=c23 -g -MMD -MP -I$(BUILD) -isystem $(BUILD)/third_party/libfdt
REPRODUCIBLE := -ffile-prefix-map=$(CURDIR)/= -fdebug-compilation-dir=.

# The image uses no FP/SIMD registers; on aarch64 and riscv64 it runs at any address, and for a while with the MMU off,
# where an unaligned access faults. Every global is our own, so no access needs to go through a GOT.
FREESTANDING := -ffreestanding -nostdlibinc -isystem lib/include -O2 -fpie -fvisibility=hidden \
    -fdirect-access-external-data -ffunction-sections -fdata-sections -fno-common -fno-stack-protector \
    -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-strict-aliasing
ARCH_FLAGS_aarch64 := --target=aarch64-none-elf -mgeneral-regs-only -mstrict-align -mno-outline-atomics -mcmodel=small
ARCH_FLAGS_riscv64 := --target=riscv64-unknown-none-elf -march=rv64imac_zicsr_zifencei -mabi=lp64 -mno-relax -mcmodel=medany
ARCH_FLAGS_x86_64 := --target=x86_64-unknown-none-elf -mgeneral-regs-only -mno-red-zone -mcmodel=small
ARCH_FLAGS := $(ARCH_FLAGS_$(ARCH))
IMAGE_CFLAGS := $(BASE) $(REPRODUCIBLE) $(ARCH_FLAGS) $(FREESTANDING) -Iinclude -Iarch/$(ARCH)
# Link-time optimisation makes the way of an exit, which runs through five files, one piece of code. lib/ stays out of it:
# the compiler makes calls of memcpy and its kin up after the symbols are settled.
IMAGE_LTO := -flto
# A position-independent image relocates itself: link.ld keeps .rela.dyn, start.S applies it. On x86_64, whose boot loaders
# read ELF, it lies where it was linked.
IMAGE_LDFLAGS_aarch64 := -pie --no-dynamic-linker -z notext
IMAGE_LDFLAGS_riscv64 := -pie --no-dynamic-linker -z notext
IMAGE_LDFLAGS_x86_64 := -static --no-pie
IMAGE_LDFLAGS := $(IMAGE_LDFLAGS_$(ARCH)) -z max-page-size=4096 -z norelro --gc-sections --build-id=none --fatal-warnings

HOST_BASE := $(BASE) -D_POSIX_C_SOURCE=200809L -Iinclude -Iarch/host -fno-omit-frame-pointer -fno-common -fno-strict-aliasing
HOST_CFLAGS_plain := $(HOST_BASE) $(REPRODUCIBLE) -O2
HOST_CFLAGS_san := $(HOST_BASE) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_LDFLAGS_plain :=
HOST_LDFLAGS_san := -fsanitize=address,undefined

# Others' code is compiled as it comes. libfdt reads a field byte by byte, but forms a pointer to it that a malformed tree
# can misalign.
THIRD_PARTY := -w -fno-sanitize=alignment
LIBFDT_SRC := fdt fdt_addresses fdt_check fdt_empty_tree fdt_overlay fdt_ro fdt_rw fdt_strerror fdt_sw fdt_wip

# Stamps: the Debian packages are installed, libfdt is unpacked.
TOOLCHAIN := $(BUILD)/.packages-$(ARCH)
LIBFDT := $(BUILD)/third_party/libfdt/.unpacked
