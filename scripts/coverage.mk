# SPDX-License-Identifier: Apache-2.0
# make coverage: line and branch coverage of core/ and vdev/ from the unit tests, the simulator and the corpus of wrong
# configurations. The programs are built anew with the counters of clang, for the simulator with its own instrumentation
# as well.

COVERAGE := $(BUILD)/coverage
COVERAGE_STEPS ?= 4000000
COVERAGE_SEEDS ?= 20
COVER := -fprofile-instr-generate -fcoverage-mapping
COVERAGE_BIN := $(UNIT_SRC:tests/unit/%.c=$(COVERAGE)/bin/%)
COVERAGE_SIM := $(COVERAGE)/bin/sim

HOST_CFLAGS_cover := $(HOST_BASE) -O1 $(COVER)
HOST_CFLAGS_coverstep := $(HOST_BASE) -O1 -fno-pie $(COVER)
$(HOST)/coverstep/core/%.c.o: HOST_CFLAGS_coverstep += $(STEPPED)
$(HOST)/coverstep/vdev/%.c.o: HOST_CFLAGS_coverstep += $(STEPPED)
$(eval $(call host_rules,cover))
$(eval $(call host_rules,coverstep))

.PHONY: coverage coverage-programs
coverage: | $(TOOLCHAIN)
	$(Q)$(MAKE) -j$(JOBS) coverage-programs
	$(Q)SEEDS=$(COVERAGE_SEEDS) /usr/bin/python3 scripts/coverage.py $(COVERAGE) $(COVERAGE_STEPS)

coverage-programs: $(COVERAGE_BIN) $(COVERAGE_SIM) $(COVERAGE)/bulkhead $(COVERAGE)/all

$(COVERAGE)/bulkhead: $(TOOL_SRC:%=$(HOST)/cover/%.o) $(COVERAGE)/libbulkhead.a
	$(call say,LINK,$@)$(CC) $(COVER) -fuse-ld=lld-$(LLVM) -o $@ $^

# All there is, so that what no program links counts as well. It never runs.
$(COVERAGE)/all: $(COVERAGE)/libbulkhead.a
	$(call say,LINK,$@)$(CC) -nostartfiles -Wl,-e,0 -Wl,--whole-archive $^ -Wl,--no-whole-archive $(COVER) -fuse-ld=lld-$(LLVM) -o $@

$(COVERAGE)/libbulkhead.a: $(call host_obj,cover)
	@mkdir -p $(@D)
	$(archive)

$(COVERAGE)/libbulkhead-step.a: $(call host_obj,coverstep)
	@mkdir -p $(@D)
	$(archive)

$(COVERAGE)/libunit.a: $(UNIT_LIB_SRC:%=$(HOST)/cover/%.o)
	@mkdir -p $(@D)
	$(archive)

$(COVERAGE_BIN): $(COVERAGE)/bin/%: $(HOST)/cover/tests/unit/%.c.o $(if $(UNIT_LIB_SRC),$(COVERAGE)/libunit.a) $(COVERAGE)/libbulkhead.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(COVER) -fuse-ld=lld-$(LLVM) -o $@ $^ -lcmocka

$(COVERAGE_SIM): $(SIM_SRC:%=$(HOST)/coverstep/%.o) $(HOST)/cover/scripts/coverage_exit.c.o $(COVERAGE)/libbulkhead-step.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(COVER) $(SIM_LDFLAGS) -Wl,--wrap=_exit -fuse-ld=lld-$(LLVM) -o $@ $^
