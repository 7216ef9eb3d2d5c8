# SPDX-License-Identifier: Apache-2.0
# What has to be there before something can be built. Each of these is quick when it is, and says what it does when not.

.PHONY: setup FORCE
setup:
	$(Q)scripts/setup.sh all
	$(Q)scripts/fetch.sh all
	@echo 'bulkhead: everything that is needed is here' >&2

$(TOOLCHAIN): scripts/setup.sh scripts/packages.txt
	@mkdir -p $(@D)
	$(Q)scripts/setup.sh $(ARCH) && touch $@

$(LIBFDT): scripts/fetch.sh | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(Q)scripts/fetch.sh libfdt $(@D) && touch $@

.PHONY: guests
guests: | $(TOOLCHAIN)
	$(Q)scripts/fetch.sh guests $(ARCH)

# Rewritten only when it changes, so that a commit rebuilds one file.
$(BUILD)/version.h: FORCE
	@mkdir -p $(@D)
	$(Q)scripts/version.sh > $@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
