# SPDX-License-Identifier: Apache-2.0
# make bench: the guest that measures, the QEMU plugin that counts, and the script that makes a table of it.
# CHECK=1 fails when a figure misses its mark; PROFILE=OPERATION shows where one operation's instructions go.

BENCH_DIR := bench/guest/$(ARCH)
BENCH_OBJ := $(patsubst %,$(OUT)/bench-obj/%.o,$(sort $(wildcard $(BENCH_DIR)/*.c $(BENCH_DIR)/*.S)))
BENCH_GUEST := $(OUT)/bench/bench.bin
BENCH_PLUGIN := $(HOST)/count.so
CHECK ?=
PROFILE ?=

# x28 is the vector's: it holds the time of the last interrupt.
BENCH_FLAGS_aarch64 := -ffixed-x28
BENCH_CFLAGS := $(BASE) $(REPRODUCIBLE) $(ARCH_FLAGS) -ffreestanding -nostdlibinc -isystem lib/include -O2 -fno-pie \
    -fno-common -fno-stack-protector $(BENCH_FLAGS_$(ARCH)) -Ibench/guest

.PHONY: bench bench-programs
bench: image host guests bench-programs
	$(Q)/usr/bin/python3 bench/run.py $(if $(CHECK),--check) $(if $(PROFILE),--profile $(PROFILE))

bench-programs: $(BENCH_GUEST) $(BENCH_PLUGIN)

$(BENCH_GUEST): $(OUT)/bench/bench.elf
	$(call say,BIN,$@)$(OBJCOPY) -O binary $< $@

$(OUT)/bench/bench.elf: $(BENCH_OBJ) $(BENCH_DIR)/link.ld
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LD) -static --build-id=none -z max-page-size=4096 -T $(BENCH_DIR)/link.ld -o $@ $(BENCH_OBJ)

$(OUT)/bench-obj/%.c.o: %.c scripts/flags.mk scripts/bench.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,GUESTCC,$<)$(CC) $(BENCH_CFLAGS) $(WARN) -c -o $@ $<

$(OUT)/bench-obj/%.S.o: %.S scripts/flags.mk scripts/bench.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,GUESTAS,$<)$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BENCH_PLUGIN): bench/plugin/count.c bench/plugin/qemu_plugin.h bench/guest/marks.h scripts/flags.mk scripts/bench.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,PLUGIN,$@)$(CC) -std=c23 -g -O2 -fPIC -shared -fuse-ld=lld-$(LLVM) $(WARN) -o $@ $<
