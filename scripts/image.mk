# SPDX-License-Identifier: Apache-2.0
# The hypervisor's image: $(BUILD)/$(ARCH)/bulkhead.elf with symbols, and what a boot loader takes: bulkhead.bin, but on
# x86_64 the ELF file itself.

OUT := $(BUILD)/$(ARCH)
BOOT_IMAGE := $(OUT)/bulkhead.$(if $(filter x86_64,$(ARCH)),elf,bin)
IMAGE_SRC := $(sort $(wildcard core/*.c vdev/*.c drv/*.c lib/*.c arch/$(ARCH)/*.c arch/$(ARCH)/*.S))
IMAGE_OBJ := $(IMAGE_SRC:%=$(OUT)/obj/%.o) $(LIBFDT_SRC:%=$(OUT)/obj/libfdt/%.c.o)

.PHONY: image
image: $(BOOT_IMAGE)

$(OUT)/bulkhead.bin: $(OUT)/bulkhead.elf
	$(call say,BIN,$@)$(OBJCOPY) -O binary $< $@

$(OUT)/bulkhead.elf: $(IMAGE_OBJ) arch/$(ARCH)/link.ld scripts/flags.mk
	$(call say,LD,$@)$(LD) $(IMAGE_LDFLAGS) -T arch/$(ARCH)/link.ld -o $@ $(IMAGE_OBJ)

$(OUT)/obj/libfdt/%.c.o: $(LIBFDT) scripts/flags.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,CC,libfdt/$*.c)$(CC) $(IMAGE_CFLAGS) $(THIRD_PARTY) -c -o $@ $(BUILD)/third_party/libfdt/$*.c

$(OUT)/obj/lib/%.c.o: IMAGE_LTO :=

$(OUT)/obj/%.c.o: %.c scripts/flags.mk | $(TOOLCHAIN) $(LIBFDT) $(BUILD)/version.h
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(IMAGE_CFLAGS) $(IMAGE_LTO) $(WARN) -c -o $@ $<

$(OUT)/obj/%.S.o: %.S scripts/flags.mk | $(TOOLCHAIN) $(BUILD)/version.h
	@mkdir -p $(@D)
	$(call say,AS,$<)$(CC) $(IMAGE_CFLAGS) -c -o $@ $<
