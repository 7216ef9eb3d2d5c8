# SPDX-License-Identifier: Apache-2.0
# Our own guests: tests/guest/NAME.c, and the probes of all architectures (tests/guest/common/probes/NAME.c) and of this one
# (tests/guest/$(ARCH)/probes/NAME.c), each linked with what lies in tests/guest/common and tests/guest/$(ARCH), become
# $(OUT)/guest/NAME.elf and .bin.

GUEST_RUNTIME := $(sort $(wildcard tests/guest/common/*.c tests/guest/$(ARCH)/*.c tests/guest/$(ARCH)/*.S))
GUEST_LD := tests/guest/$(ARCH)/link.ld
GUEST_PROBES := $(wildcard tests/guest/common/probes/*.c tests/guest/$(ARCH)/probes/*.c)
GUEST_SRC := $(sort $(wildcard tests/guest/*.c) $(GUEST_PROBES))
GUEST_ELF := $(patsubst %.c,$(OUT)/guest/%.elf,$(notdir $(GUEST_SRC)))
GUEST_CFLAGS := $(BASE) $(REPRODUCIBLE) $(ARCH_FLAGS) -ffreestanding -nostdlibinc -isystem lib/include -O2 -fno-pie -fno-common \
    -fno-stack-protector -ffunction-sections -Itests/guest/common -Itests/guest/$(ARCH) -Iinclude

.PHONY: guest-programs
guest-programs: $(GUEST_ELF:.elf=.bin)

define guest_link
	@mkdir -p $(@D)
	$(call say,LD,$@)$(LD) -static --gc-sections --build-id=none -z max-page-size=4096 -T $(GUEST_LD) -o $@ $(filter %.o,$^)
endef

# Each by its own source: a pattern would take an object that is left of a probe that has moved.
define guest_program
$(OUT)/guest/$(basename $(notdir $(1))).elf: $(OUT)/guest-obj/$(1).o $(GUEST_RUNTIME:%=$(OUT)/guest-obj/%.o) $(GUEST_LD)
	$$(guest_link)
endef
$(foreach source,$(GUEST_SRC),$(eval $(call guest_program,$(source))))

$(GUEST_ELF:.elf=.bin): %.bin: %.elf
	$(call say,BIN,$@)$(OBJCOPY) -O binary $< $@

$(OUT)/guest-obj/%.c.o: %.c scripts/flags.mk scripts/guest.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,GUESTCC,$<)$(CC) $(GUEST_CFLAGS) $(WARN) -c -o $@ $<

$(OUT)/guest-obj/%.S.o: %.S scripts/flags.mk scripts/guest.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call say,GUESTAS,$<)$(CC) $(GUEST_CFLAGS) -c -o $@ $<
