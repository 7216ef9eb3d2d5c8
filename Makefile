# SPDX-License-Identifier: Apache-2.0
# make help lists what there is. Files are found by wildcard: a new one needs no line here.

ARCH ?= aarch64
BUILD ?= build
V ?= 0
CACHE := $(or $(BULKHEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bulkhead)

# What make run boots, and on what.
VMS ?= vms/linux-a.toml vms/linux-b.toml
SMP ?= 4
MEM ?= 2G
CPU ?=
APPEND ?=
QEMU_ARGS ?=

LLVM := 19
CC := clang-$(LLVM)
LD := ld.lld-$(LLVM)
AR := llvm-ar-$(LLVM)
OBJCOPY := llvm-objcopy-$(LLVM)

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
ifeq ($(wildcard arch/$(ARCH)/start.S),)
$(error ARCH=$(ARCH): there is no arch/$(ARCH); there are: $(patsubst arch/%/start.S,%,$(wildcard arch/*/start.S)))
endif

Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

include scripts/flags.mk
include scripts/image.mk
include scripts/iso.mk
include scripts/host.mk
include scripts/guest.mk
include scripts/setup.mk
include scripts/test.mk
include scripts/sim.mk
include scripts/bench.mk
include scripts/fuzz.mk
include scripts/coverage.mk
include scripts/soak.mk

.PHONY: all help run clean distclean
all: image host

run: image host guests
	$(Q)$(HOST)/bulkhead run --arch $(ARCH) --smp $(SMP) --memory $(MEM) $(if $(CPU),--cpu $(CPU)) --append '$(APPEND)' \
	    --image $(BOOT_IMAGE) -C $(GUESTS) $(VMS) $(if $(QEMU_ARGS),-- $(QEMU_ARGS))

help:
	@sed '/^# /d;s/^\.$$//' scripts/help.txt

clean:
	$(call say,CLEAN,$(BUILD))rm -rf $(BUILD)

# The downloads as well: the next build needs the network again.
distclean: clean
	$(call say,CLEAN,$(CACHE))rm -rf $(CACHE)

# The compiler's notes of who includes what; not those of a source that has moved, for which there is no rule any more.
SOURCE_IS_THERE := { for (i = 1; i <= NF; i++) if ($$i ~ /\.[cS]$$/) { if ((getline line < $$i) >= 0) print FILENAME; nextfile } }
-include $(shell [ -d $(BUILD) ] && find $(BUILD) -name '*.d' -exec awk '$(SOURCE_IS_THERE)' {} +)
