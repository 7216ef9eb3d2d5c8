# SPDX-License-Identifier: Apache-2.0
# The simulator: core/ and vdev/ compiled with a race detector's instrumentation, whose functions tests/sim supplies.
# make sim runs seeds until STEPS are done; SEED=n replays one run.

SIM := $(HOST)/sim
SIM_SRC := $(sort $(wildcard tests/sim/*.c))
STEPS ?= 1000000
SEED ?=
FIRST ?= 1
SIM_WRAP := page_alloc page_free page_alloc_blocks stack_alloc
HOST_CFLAGS_step := $(HOST_BASE) -O2 -fno-pie
SIM_LDFLAGS := -no-pie $(SIM_WRAP:%=-Wl,--wrap=%)
STEPPED := -fsanitize=thread -mllvm -tsan-instrument-func-entry-exit=0

$(HOST)/step/core/%.c.o: HOST_CFLAGS_step += $(STEPPED)
$(HOST)/step/vdev/%.c.o: HOST_CFLAGS_step += $(STEPPED)
$(eval $(call host_rules,step))

.PHONY: sim mutants
sim: $(SIM)
	$(Q)$(SIM) $(if $(SEED),--seed $(SEED),--steps $(STEPS) --first $(FIRST))

$(HOST)/libbulkhead-step.a: $(call host_obj,step)
	$(archive)

$(SIM): $(SIM_SRC:%=$(HOST)/step/%.o) $(HOST)/libbulkhead-step.a
	$(call say,LINK,$@)$(CC) $(SIM_LDFLAGS) -fuse-ld=lld-$(LLVM) -o $@ $^

tests: $(SIM)

# What tests/sim/mutants/run.py compiles and links with.
MUTANT_FLAGS := $(BUILD)/mutants/flags
$(MUTANT_FLAGS): FORCE
	@mkdir -p $(@D)
	$(Q){ echo CC $(CC); echo AR $(AR); echo SAN_OBJ $(call host_obj,san); echo STEP_CFLAGS $(HOST_CFLAGS_step) $(STEPPED); \
	    echo STEP_LDFLAGS $(SIM_LDFLAGS) -fuse-ld=lld-$(LLVM); echo SIM_OBJ $(SIM_SRC:%=$(HOST)/step/%.o); \
	    echo SAN_CFLAGS $(HOST_CFLAGS_san); echo SAN_LDFLAGS $(HOST_LDFLAGS_san) -fuse-ld=lld-$(LLVM); } > $@

tests: $(MUTANT_FLAGS)

mutants: $(SIM) $(UNIT_BIN) $(MUTANT_FLAGS)
	$(Q)/usr/bin/python3 tests/sim/mutants/run.py $(T)
