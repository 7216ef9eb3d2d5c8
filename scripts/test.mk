# SPDX-License-Identifier: Apache-2.0
# Tests and checks. The scripts count; make brings everything up to date.

JOBS ?= 2
T ?=
GUESTS := $(CACHE)/guests/$(ARCH)
export ARCH BUILD JOBS LLVM
export BULKHEAD_GUESTS := $(GUESTS)
export BULKHEAD_TOML_TEST := $(CACHE)/toml-test

.PHONY: test check tidy tidy-arch cppcheck cppcheck-arch toml-test tests
# T=test_... needs that unit test only.
TESTED := $(if $(filter test_%,$(T)),$(or $(filter $(T)%,$(notdir $(UNIT_BIN))),tests),tests)
# The other architectures, a small part of whose tests goes with those of the default one.
OTHERS := $(filter-out $(ARCH),$(patsubst arch/%/start.S,%,$(wildcard arch/*/start.S)))
export BULKHEAD_ALSO := $(if $(filter aarch64,$(ARCH)),$(OTHERS))
also_build = $(if $(filter tests,$(TESTED)),$(BULKHEAD_ALSO:%=$(MAKE) -k -j$(JOBS) ARCH=% image guests guest-programs;))
# What fails to build is reported by the test that needs it, and the others still run.
test: | $(TOOLCHAIN)
	-$(Q)$(MAKE) -k -j$(JOBS) $(TESTED)
	-$(Q)$(also_build)
	$(Q)/usr/bin/python3 scripts/test.py $(T)

# What QEMU has not. make test has it as well.
.PHONY: test-vmx
ifeq ($(ARCH),x86_64)
test-vmx: image host guests guest-programs
	$(Q)/usr/bin/python3 scripts/test.py system-vmx
else
test-vmx:
	$(Q)$(MAKE) ARCH=x86_64 test-vmx
endif

tests: unit image host guests toml-test guest-programs

check: | $(TOOLCHAIN) $(LIBFDT) $(BUILD)/version.h
	$(Q)/usr/bin/python3 scripts/check.py

toml-test: | $(TOOLCHAIN)
	$(Q)scripts/fetch.sh toml-test

# clang-tidy, a stamp a file: only what changed is looked at again.
TIDY_IMAGE := $(filter %.c,$(IMAGE_SRC))
TIDY_HOST := $(wildcard arch/host/*.c) $(TOOL_SRC)

# Of the other architectures, what is only theirs.
tidy: tidy-arch $(TIDY_IMAGE:%=$(BUILD)/tidy/%.ok) $(TIDY_HOST:%=$(BUILD)/tidy/%.ok)
	$(Q):$(OTHERS:%=; $(MAKE) ARCH=% tidy-arch || exit 1)

tidy-arch: $(patsubst %,$(BUILD)/tidy/%.ok,$(filter arch/%,$(TIDY_IMAGE)))

define tidy
	@mkdir -p $(@D)
	$(Q)clang-tidy-$(LLVM) --quiet $< -- $(1) >$@.log 2>&1 || { grep -E '(error|warning): ' $@.log; exit 1; }
	$(Q)$(CC) $(filter-out -MMD,$(1)) -MM -MT $@ -MF $@.d $< && touch $@
endef

$(TIDY_IMAGE:%=$(BUILD)/tidy/%.ok): $(BUILD)/tidy/%.ok: % .clang-tidy | $(TOOLCHAIN) $(LIBFDT) $(BUILD)/version.h
	$(call tidy,$(IMAGE_CFLAGS))

$(TIDY_HOST:%=$(BUILD)/tidy/%.ok): $(BUILD)/tidy/%.ok: % .clang-tidy | $(TOOLCHAIN) $(LIBFDT) $(BUILD)/version.h
	$(call tidy,$(HOST_CFLAGS_plain))

cppcheck: | $(TOOLCHAIN) $(LIBFDT)
	$(call run_cppcheck,$(TIDY_IMAGE))
	$(Q):$(OTHERS:%=; $(MAKE) ARCH=% cppcheck-arch || exit 1)

cppcheck-arch: | $(TOOLCHAIN) $(LIBFDT)
	$(call run_cppcheck,$(filter arch/%,$(TIDY_IMAGE)))

define run_cppcheck
	@mkdir -p $(BUILD)/cppcheck/$(ARCH)
	$(Q)cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	    --std=c11 -j$(JOBS) --cppcheck-build-dir=$(BUILD)/cppcheck/$(ARCH) --suppressions-list=scripts/cppcheck.txt \
	    -Iinclude -Iarch/$(ARCH) -Ilib/include -I$(BUILD) -D__STDC_HOSTED__=0 $(1)
endef

.PHONY: format
format:
	$(Q)clang-format-$(LLVM) -i $$(find include core vdev drv lib arch tools tests bench -name '*.[ch]')
