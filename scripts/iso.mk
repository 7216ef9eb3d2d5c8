# SPDX-License-Identifier: Apache-2.0
# make iso ARCH=x86_64: an image for a CD or a USB stick with GRUB, the hypervisor and the VMs of VMS. It boots on BIOS and on
# UEFI machines. APPEND= is the hypervisor's command line, BUNDLE= a bundle that is there already.

BUNDLE ?=
ISO := $(OUT)/bulkhead.iso

.PHONY: iso
ifeq ($(ARCH),x86_64)
iso: image host guests
	$(Q)rm -rf $(OUT)/iso && mkdir -p $(OUT)/iso/boot/grub
	$(Q)$(OBJCOPY) --strip-debug $(BOOT_IMAGE) $(OUT)/iso/boot/bulkhead.elf
	$(Q)$(if $(BUNDLE),cp $(BUNDLE) $(OUT)/iso/boot/bundle.cpio,\
	    $(HOST)/bulkhead bundle --arch $(ARCH) -o $(OUT)/iso/boot/bundle.cpio -C $(GUESTS) $(VMS))
	$(Q)sed 's/@APPEND@/$(APPEND)/' scripts/grub.cfg >$(OUT)/iso/boot/grub/grub.cfg
	$(call say,ISO,$(ISO))grub-mkrescue -o $(ISO) --locales= --fonts= --themes= $(OUT)/iso >$(OUT)/iso.log 2>&1 || \
	    { cat $(OUT)/iso.log; exit 1; }
else
iso:
	@echo 'bulkhead: make iso needs ARCH=x86_64: the other machines boot from a device tree' >&2; exit 1
endif
