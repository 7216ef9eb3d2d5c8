# SPDX-License-Identifier: Apache-2.0
# make fuzz: tests/fuzz/NAME.c, each a libFuzzer program, runs for SECONDS seconds, or until it has had CPU_SECONDS of the
# processor; T=NAME for one of them. What it finds lies in $(BUILD)/fuzz/NAME with the command that shows it again. Seeds:
# tests/fuzz/corpus/NAME, and what seeds.py makes.

FUZZ := $(BUILD)/fuzz
FUZZ_COMMON := tests/fuzz/common.c
FUZZ_SRC := $(sort $(filter-out $(FUZZ_COMMON),$(wildcard tests/fuzz/*.c)))
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(FUZZ)/bin/%)
FUZZ_SECONDS ?= 10
SECONDS ?= $(FUZZ_SECONDS)

HOST_CFLAGS_fuzz := $(HOST_BASE) -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
$(eval $(call host_rules,fuzz))

.PHONY: fuzz fuzzers
fuzz: | $(TOOLCHAIN)
	$(Q)$(MAKE) -j$(JOBS) $(if $(T),$(FUZZ)/bin/$(T),fuzzers)
	$(Q)/usr/bin/python3 tests/fuzz/run.py $(if $(CPU_SECONDS),--cpu-seconds $(CPU_SECONDS),--seconds $(SECONDS)) $(T)

fuzzers: $(FUZZ_BIN)
tests: fuzzers

$(FUZZ)/libbulkhead.a: $(call host_obj,fuzz) $(HOST)/fuzz/$(FUZZ_COMMON).o
	@mkdir -p $(@D)
	$(archive)

define fuzz_link
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -fsanitize=fuzzer,address,undefined -fuse-ld=lld-$(LLVM) -o $@ $^ $(FUZZ_LIBS)
endef

# A guest's side of another architecture has that one's types, so nothing of the core can be linked to it.
FUZZ_APART := decode x86emulate x86regs
$(filter-out $(FUZZ_APART:%=$(FUZZ)/bin/%),$(FUZZ_BIN)): $(FUZZ)/bin/%: $(HOST)/fuzz/tests/fuzz/%.c.o $(FUZZ)/libbulkhead.a
	$(fuzz_link)

# LLVM's disassembler is in the library that the compiler itself is linked with.
$(FUZZ)/bin/x86insn: FUZZ_LIBS := -l:libLLVM.so.$(LLVM).1

$(FUZZ_APART:%=$(FUZZ)/bin/%): $(FUZZ)/bin/%: $(HOST)/fuzz/tests/fuzz/%.c.o $(patsubst %,$(HOST)/fuzz/%.o,$(FUZZ_COMMON) $(LIBFDT_SRC:%=libfdt/%.c))
	$(fuzz_link)

fuzz_as = $(subst -Iarch/host,-Itests/fuzz/$(1) -Iarch/$(1),$(HOST_CFLAGS_fuzz))
$(HOST)/fuzz/tests/fuzz/decode.c.o: HOST_CFLAGS_fuzz := $(call fuzz_as,aarch64)
$(HOST)/fuzz/tests/fuzz/x86emulate.c.o $(HOST)/fuzz/tests/fuzz/x86regs.c.o: HOST_CFLAGS_fuzz := $(call fuzz_as,x86_64)
