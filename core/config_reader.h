// SPDX-License-Identifier: Apache-2.0
// What the two halves of the configuration's reader share: config.c (keys, and what must hold between them) and
// config_value.c (the values of single keys).
#pragma once

#include "config.h"
#include "toml.h"

struct config_reader {
    struct diag_list *diags;
    struct vm_config *out;
    bool partial;  // the text has errors: a key that seems to be missing may stand in a line that was skipped
    bool cpus_bad; // what depends on a wrong value is not judged
    bool protocol_bad;
    const struct toml_node *boot;
    u32 affinity_lists; // 0: one flat list for all
    struct config_pos affinity;
};

// Reports an error at a value.
[[gnu::format(printf, 3, 4)]] void config_fail(struct config_reader *c, const struct toml_node *at, const char *fmt,
                                               ...);

// One function a key: checks the value and stores it in c->out.
void config_read_name(struct config_reader *c, const struct toml_node *value);
void config_read_cpus(struct config_reader *c, const struct toml_node *value);
void config_read_memory(struct config_reader *c, const struct toml_node *value);
void config_read_autostart(struct config_reader *c, const struct toml_node *value);
void config_read_on_shutdown(struct config_reader *c, const struct toml_node *value);
void config_read_on_reset(struct config_reader *c, const struct toml_node *value);
void config_read_on_crash(struct config_reader *c, const struct toml_node *value);
void config_read_kernel(struct config_reader *c, const struct toml_node *value);
void config_read_initrd(struct config_reader *c, const struct toml_node *value);
void config_read_dtb(struct config_reader *c, const struct toml_node *value);
void config_read_cmdline(struct config_reader *c, const struct toml_node *value);
void config_read_protocol(struct config_reader *c, const struct toml_node *value);
void config_read_load(struct config_reader *c, const struct toml_node *value);
void config_read_entry(struct config_reader *c, const struct toml_node *value);
void config_read_affinity(struct config_reader *c, const struct toml_node *value);
void config_read_priority(struct config_reader *c, const struct toml_node *value);
