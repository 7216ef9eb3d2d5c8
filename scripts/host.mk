# SPDX-License-Identifier: Apache-2.0
# The same core for the host: once under the sanitizers for the tests, once plain for the host command.

HOST := $(BUILD)/host
HOST_SRC := $(sort $(wildcard core/*.c vdev/*.c drv/*.c lib/*.c arch/host/*.c))
TOOL_SRC := $(sort $(wildcard tools/*.c))
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_LIB_SRC := $(sort $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)))
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(HOST)/%)
# Programs that test scripts call: tests/tools/NAME.c becomes $(HOST)/NAME.
TEST_TOOL_SRC := $(sort $(wildcard tests/tools/*.c))
TEST_TOOL_BIN := $(TEST_TOOL_SRC:tests/tools/%.c=$(HOST)/%)

host_obj = $(HOST_SRC:%=$(HOST)/$(1)/%.o) $(LIBFDT_SRC:%=$(HOST)/$(1)/libfdt/%.c.o)

.PHONY: host host-lib unit
host: $(HOST)/bulkhead
host-lib: $(HOST)/libbulkhead.a
unit: $(UNIT_BIN) $(TEST_TOOL_BIN)
# make test_toml builds one.
.PHONY: $(notdir $(UNIT_BIN))
$(foreach t,$(UNIT_BIN),$(eval $(notdir $(t)): $(t)))

# LENIENT=1 leaves out what does not compile.
define archive
	$(call say,AR,$@)rm -f $@.new && $(AR) rcsD $@.new $(if $(LENIENT),$$(for o in $^; do [ ! -e $$o ] || echo $$o; done),$^) && mv $@.new $@
endef

$(HOST)/libbulkhead.a: $(call host_obj,san)
	$(archive)

$(HOST)/libbulkhead-plain.a: $(call host_obj,plain)
	$(archive)

# What several unit tests share.
$(HOST)/libunit.a: $(UNIT_LIB_SRC:%=$(HOST)/san/%.o)
	$(archive)

$(HOST)/bulkhead: $(TOOL_SRC:%=$(HOST)/plain/%.o) $(HOST)/libbulkhead-plain.a
	$(call say,LINK,$@)$(CC) -fuse-ld=lld-$(LLVM) -o $@ $^

$(UNIT_BIN): $(HOST)/%: $(HOST)/san/tests/unit/%.c.o $(if $(UNIT_LIB_SRC),$(HOST)/libunit.a) $(HOST)/libbulkhead.a
	$(call say,LINK,$@)$(CC) $(HOST_LDFLAGS_san) -fuse-ld=lld-$(LLVM) -o $@ $^ -lcmocka

$(TEST_TOOL_BIN): $(HOST)/%: $(HOST)/san/tests/tools/%.c.o $(HOST)/libbulkhead.a
	$(call say,LINK,$@)$(CC) $(HOST_LDFLAGS_san) -fuse-ld=lld-$(LLVM) -o $@ $^

define host_rules
$(HOST)/$(1)/libfdt/%.c.o: $$(LIBFDT) scripts/flags.mk | $$(TOOLCHAIN)
	@mkdir -p $$(@D)
	$$(call say,HOSTCC,libfdt/$$*.c)$$(CC) $$(HOST_CFLAGS_$(1)) $$(THIRD_PARTY) -c -o $$@ $$(BUILD)/third_party/libfdt/$$*.c

$(HOST)/$(1)/tests/%.c.o: tests/%.c scripts/flags.mk | $$(TOOLCHAIN) $$(LIBFDT) $$(BUILD)/version.h
	@mkdir -p $$(@D)
	$$(call say,HOSTCC,$$<)$$(CC) $$(HOST_CFLAGS_$(1)) $$(WARN) -Wno-conversion -c -o $$@ $$<

$(HOST)/$(1)/%.c.o: %.c scripts/flags.mk | $$(TOOLCHAIN) $$(LIBFDT) $$(BUILD)/version.h
	@mkdir -p $$(@D)
	$$(call say,HOSTCC,$$<)$$(CC) $$(HOST_CFLAGS_$(1)) $$(WARN) -c -o $$@ $$<$$(if $$(LENIENT), || true)
endef
$(eval $(call host_rules,san))
$(eval $(call host_rules,plain))

.SECONDARY:
