// SPDX-License-Identifier: Apache-2.0
// A VM's configuration: which keys there are, and what must hold between them. The values are read in config_value.c.
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config_reader.h"

struct rule {
    const char *key;
    void (*read)(struct config_reader *c, const struct toml_node *value);
};

static void read_boot(struct config_reader *c, const struct toml_node *value);
static void read_sched(struct config_reader *c, const struct toml_node *value);

static const struct rule top_rules[] = {
    {"name", config_read_name},
    {"cpus", config_read_cpus},
    {"memory", config_read_memory},
    {"autostart", config_read_autostart},
    {"on_shutdown", config_read_on_shutdown},
    {"on_reset", config_read_on_reset},
    {"on_crash", config_read_on_crash},
    {"boot", read_boot},
    {"sched", read_sched},
};

static const struct rule boot_rules[] = {
    {"kernel", config_read_kernel},     {"initrd", config_read_initrd}, {"dtb", config_read_dtb},
    {"cmdline", config_read_cmdline},   {"load", config_read_load},     {"entry", config_read_entry},
    {"protocol", config_read_protocol},
};

static const struct rule sched_rules[] = {
    {"affinity", config_read_affinity},
    {"priority", config_read_priority},
};

static const struct section {
    const char *name; // NULL: the top of the file
    const struct rule *rules;
    u32 count;
} sections[] = {
    {NULL, top_rules, ARRAY_SIZE(top_rules)},
    {"boot", boot_rules, ARRAY_SIZE(boot_rules)},
    {"sched", sched_rules, ARRAY_SIZE(sched_rules)},
};
enum { SECTION_TOP, SECTION_BOOT, SECTION_SCHED };

// ---- errors

void config_fail(struct config_reader *c, const struct toml_node *at, const char *fmt, ...) {
    char text[DIAG_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    diag_error(c->diags, c->out->file, at->line, at->col, "%s", text);
}

// ---- unknown keys

enum { KEY_LEN_MAX = 24 };

// How many letters to insert, delete, change or swap with their neighbour to make one word of the other
// (optimal string alignment); KEY_LEN_MAX for words too long to be compared.
static u32 edit_distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    u32 rows[3][KEY_LEN_MAX + 1];
    u32 *before = rows[0], *above = rows[1], *row = rows[2];
    if (a_len > KEY_LEN_MAX || b_len > KEY_LEN_MAX)
        return KEY_LEN_MAX;
    for (u32 j = 0; j <= b_len; j++)
        above[j] = j;
    for (u32 i = 1; i <= a_len; i++) {
        row[0] = i;
        for (u32 j = 1; j <= b_len; j++) {
            u32 change = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = MIN(change, MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = MIN(row[j], before[j - 2] + 1);
        }
        u32 *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

static const struct rule *find_rule(const struct section *section, const char *key, size_t len) {
    for (u32 i = 0; i < section->count; i++) {
        if (strlen(section->rules[i].key) == len && memcmp(section->rules[i].key, key, len) == 0)
            return &section->rules[i];
    }
    return NULL;
}

// The key that was probably meant: no more than a third of its letters are wrong, but one may always be.
static const char *suggest(const struct section *section, const char *key, size_t len) {
    const char *best = NULL;
    u32 best_distance = KEY_LEN_MAX;
    for (u32 i = 0; i < section->count; i++) {
        const char *candidate = section->rules[i].key;
        u32 distance = edit_distance(key, len, candidate, strlen(candidate));
        if (distance < best_distance && distance <= MAX(strlen(candidate) / 3, (size_t)1)) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

static void fail_unknown(struct config_reader *c, const struct section *section, const struct toml_node *node) {
    bool table =
        node->type == TOML_TABLE || (node->type == TOML_ARRAY && node->first && node->first->type == TOML_TABLE);
    const char *key = node->key, *meant = suggest(section, key, node->key_len);
    char text[120];
    int used = snprintf(text, sizeof(text), "unknown %s '%.40s'%s%s%s", table ? "table" : "key", key,
                        section->name ? " in [" : "", section->name ? section->name : "", section->name ? "]" : "");
    const struct section *home = NULL;
    for (u32 i = 0; i < ARRAY_SIZE(sections) && home == NULL; i++) {
        if (find_rule(&sections[i], key, node->key_len) != NULL)
            home = &sections[i];
    }
    char *rest = text + used;
    size_t left = sizeof(text) - (size_t)used;
    if (home != NULL && home->name != NULL)
        snprintf(rest, left, "; it belongs in [%s]", home->name);
    else if (home != NULL)
        snprintf(rest, left, "; it belongs above the first [table]");
    else if (meant != NULL)
        snprintf(rest, left, ", did you mean '%s'?", meant);
    diag_error(c->diags, c->out->file, node->key_line, node->key_col, "%s", text);
}

// ---- tables

static void read_section(struct config_reader *c, const struct section *section, const struct toml_node *table) {
    for (const struct toml_node *node = table->first; node != NULL; node = node->next) {
        const struct rule *rule = find_rule(section, node->key, node->key_len);
        if (rule != NULL)
            rule->read(c, node);
        else
            fail_unknown(c, section, node);
    }
}

static bool want_table(struct config_reader *c, const struct toml_node *value) {
    if (value->type == TOML_TABLE)
        return true;
    config_fail(c, value, "%s: expected one table, [%s], found %s", value->key, value->key,
                toml_type_name(value->type));
    return false;
}

static void read_boot(struct config_reader *c, const struct toml_node *value) {
    c->boot = value;
    if (want_table(c, value))
        read_section(c, &sections[SECTION_BOOT], value);
}

static void read_sched(struct config_reader *c, const struct toml_node *value) {
    if (want_table(c, value))
        read_section(c, &sections[SECTION_SCHED], value);
}

// ---- what must hold between keys

static void check_missing(struct config_reader *c, const struct toml_node *root) {
    const char *file = c->out->file;
    if (c->partial)
        return;
    if (toml_get(root, "name") == NULL)
        diag_error(c->diags, file, 0, 0, "'name' is missing");
    if (toml_get(root, "memory") == NULL)
        diag_error(c->diags, file, 0, 0, "'memory' is missing, such as memory = \"256M\"");
    if (c->boot == NULL)
        diag_error(c->diags, file, 0, 0, "[boot] is missing, with the path of a 'kernel'");
    else if (c->boot->type == TOML_TABLE && toml_get(c->boot, "kernel") == NULL)
        config_fail(c, c->boot, "[boot] has no 'kernel'");
}

static void check_addresses(struct config_reader *c) {
    struct vm_config *out = c->out;
    if (c->protocol_bad)
        return;
    if (out->boot.protocol == BOOT_RAW) {
        if (!out->pos.load.line && !c->partial)
            config_fail(c, c->boot, "protocol = \"raw\" needs 'load', the address to load at");
        if (!out->boot.has_entry)
            out->boot.entry = out->boot.load;
        return;
    }
    if (out->pos.load.line)
        diag_error(c->diags, out->file, out->pos.load.line, out->pos.load.col,
                   "load: only for protocol = \"raw\"; others say it in their header");
    if (out->pos.entry.line)
        diag_error(c->diags, out->file, out->pos.entry.line, out->pos.entry.col,
                   "entry: only for protocol = \"raw\"; others say it in their header");
}

static void check_affinity(struct config_reader *c) {
    u32 cpus = c->out->cpus, lists = c->affinity_lists;
    if (lists == 0 || c->cpus_bad || lists == cpus)
        return;
    diag_error(c->diags, c->out->file, c->affinity.line, c->affinity.col,
               "affinity: %u list%s for %u vCPU%s; one a vCPU, or one flat list for all", lists, lists == 1 ? "" : "s",
               cpus, cpus == 1 ? "" : "s");
}

// ---- the file

static void set_defaults(struct vm_config *out, const char *file) {
    memset(out, 0, sizeof(*out));
    snprintf(out->file, sizeof(out->file), "%s", file);
    out->cpus = 1;
    out->autostart = true;
    out->on_reset = VM_ACTION_RESTART;
    out->sched.priority = CONFIG_PRIORITY_DEFAULT;
    for (u32 i = 0; i < VM_CPUS_MAX; i++)
        out->sched.affinity[i] = ~0ull;
}

int config_parse(const char *file, const char *text, size_t len, struct arena *arena, struct diag_list *diags,
                 struct vm_config *out) {
    u32 errors_before = diags->errors;
    set_defaults(out, file);
    struct config_reader c = {.diags = diags, .out = out};
    if (len > CONFIG_FILE_MAX) {
        diag_error(diags, file, 0, 0, "%zu bytes long; a configuration has at most %u", len, (u32)CONFIG_FILE_MAX);
        return -EINVAL;
    }
    struct toml_node *root;
    c.partial = toml_parse(file, text, len, arena, diags, &root) != 0;
    if (root != NULL) {
        read_section(&c, &sections[SECTION_TOP], root);
        check_missing(&c, root);
        check_addresses(&c);
        check_affinity(&c);
    }
    out->valid = diags->errors == errors_before;
    return out->valid ? 0 : -EINVAL;
}

u32 config_check_names(struct vm_config *configs, u32 count, struct diag_list *diags) {
    u32 taken = 0;
    for (u32 i = 1; i < count; i++) {
        for (u32 j = 0; j < i && configs[i].valid; j++) {
            if (!configs[j].valid || strcmp(configs[i].name, configs[j].name) != 0)
                continue;
            diag_error(diags, configs[i].file, configs[i].pos.name.line, configs[i].pos.name.col,
                       "name = \"%s\": taken by %s:%u:%u", configs[i].name, configs[j].file, configs[j].pos.name.line,
                       configs[j].pos.name.col);
            configs[i].valid = false;
            taken++;
        }
    }
    return taken;
}

const char *vm_action_name(enum vm_action action) {
    return action == VM_ACTION_RESTART ? "restart" : "stop";
}

const char *boot_protocol_name(enum boot_protocol protocol) {
    static const char *const names[] = {
        [BOOT_AUTO] = "auto",
        [BOOT_LINUX] = "linux",
        [BOOT_ELF] = "elf",
        [BOOT_RAW] = "raw",
    };
    return names[protocol];
}
