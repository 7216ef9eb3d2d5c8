# SPDX-License-Identifier: Apache-2.0
# make soak: guests under load in QEMU and an operator whose actions a seed chooses. MINUTES=n; SEED=n does the same again.

MINUTES ?= 10

.PHONY: soak
soak: image host guests guest-programs
	$(Q)/usr/bin/python3 tests/soak/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))
