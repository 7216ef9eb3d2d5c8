// SPDX-License-Identifier: Apache-2.0
// The values of a configuration's keys. Messages name the key and the value, and say what would be right.
#include <stdio.h>
#include <string.h>

#include "bundle.h"
#include "config_reader.h"

static struct config_pos value_pos(const struct toml_node *value) {
    return (struct config_pos){value->line, value->col};
}

// ---- one type each

static bool want_type(struct config_reader *c, const struct toml_node *value, enum toml_type type, const char *wanted) {
    if (value->type == type)
        return true;
    config_fail(c, value, "%s: expected %s, found %s", value->key, wanted, toml_type_name(value->type));
    return false;
}

// A string of at most `max` bytes without control characters, so that no byte of it can drive a terminal or end early.
static bool want_text(struct config_reader *c, const struct toml_node *value, size_t max, const char *wanted) {
    if (!want_type(c, value, TOML_STRING, wanted))
        return false;
    if (value->len > max) {
        config_fail(c, value, "%s: %zu bytes long; at most %zu are allowed", value->key, value->len, max);
        return false;
    }
    for (size_t i = 0; i < value->len; i++) {
        u8 b = (u8)value->text[i];
        if (b < 0x20 || b == 0x7f) {
            config_fail(c, value, "%s: control character 0x%02x in the text", value->key, b);
            return false;
        }
    }
    return true;
}

static bool want_integer(struct config_reader *c, const struct toml_node *value, s64 low, s64 high, s64 *out) {
    char wanted[48];
    snprintf(wanted, sizeof(wanted), "an integer from %lld to %lld", (long long)low, (long long)high);
    if (!want_type(c, value, TOML_INTEGER, wanted))
        return false;
    *out = value->integer;
    if (*out >= low && *out <= high)
        return true;
    config_fail(c, value, "%s = %lld: must be %lld to %lld", value->key, (long long)*out, (long long)low,
                (long long)high);
    return false;
}

// One of the words, by its index; -1 after an error.
static int want_word(struct config_reader *c, const struct toml_node *value, const char *(*name)(int), int count) {
    char wanted[80];
    int used = 0;
    for (int i = 0; i < count; i++) {
        const char *before = i == 0 ? "" : i == count - 1 ? " or " : ", ";
        used += snprintf(wanted + used, sizeof(wanted) - (size_t)used, "%s\"%s\"", before, name(i));
    }
    if (!want_type(c, value, TOML_STRING, wanted))
        return -1;
    for (int i = 0; i < count; i++) {
        if (strlen(name(i)) == value->len && memcmp(name(i), value->text, value->len) == 0)
            return i;
    }
    config_fail(c, value, "%s = \"%.40s\": must be %s", value->key, value->text, wanted);
    return -1;
}

static const char *action_word(int i) {
    return vm_action_name((enum vm_action)i);
}

static const char *protocol_word(int i) {
    return boot_protocol_name((enum boot_protocol)i);
}

// ---- the top of the file

static bool name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

void config_read_name(struct config_reader *c, const struct toml_node *value) {
    static const char *const reserved[] = {"all", "shell", "bulkhead"}; // mean something else on the console
    if (!want_text(c, value, VM_NAME_MAX, "a string"))
        return;
    if (value->len == 0) {
        config_fail(c, value, "name = \"\": must not be empty");
        return;
    }
    if (value->text[0] == '-') {
        config_fail(c, value, "name = \"%s\": must begin with a letter or a digit", value->text);
        return;
    }
    for (size_t i = 0; i < value->len; i++) {
        if (!name_char(value->text[i])) {
            config_fail(c, value, "name = \"%s\": only a-z, 0-9 and '-' are allowed", value->text);
            return;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
        if (strcmp(value->text, reserved[i]) == 0) {
            config_fail(c, value, "name = \"%s\": this name is reserved", value->text);
            return;
        }
    }
    memcpy(c->out->name, value->text, value->len + 1);
    c->out->pos.name = value_pos(value);
}

void config_read_cpus(struct config_reader *c, const struct toml_node *value) {
    s64 cpus;
    c->cpus_bad = !want_integer(c, value, 1, VM_CPUS_MAX, &cpus);
    if (c->cpus_bad)
        return;
    c->out->cpus = (u32)cpus;
    c->out->pos.cpus = value_pos(value);
}

// "256M" in bytes; false: not of that form. What does not fit 64 bits becomes all ones.
static bool memory_parse(const char *text, size_t len, u64 *out) {
    u64 v = 0;
    if (len < 2)
        return false;
    for (size_t i = 0; i < len - 1; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        if (v <= CONFIG_MEMORY_MAX)
            v = v * 10 + (u64)(text[i] - '0');
    }
    u32 shift = text[len - 1] == 'K' ? 10 : text[len - 1] == 'M' ? 20 : text[len - 1] == 'G' ? 30 : 0;
    if (shift == 0)
        return false;
    *out = v > CONFIG_MEMORY_MAX ? ~0ull : v << shift;
    return true;
}

void config_read_memory(struct config_reader *c, const struct toml_node *value) {
    static const char wanted[] = "a string such as \"256M\"";
    struct vm_config *out = c->out;
    u64 bytes;
    if (!want_type(c, value, TOML_STRING, wanted))
        return;
    if (!memory_parse(value->text, value->len, &bytes)) {
        config_fail(c, value, "memory = \"%.40s\": must be a whole number and K, M or G, such as \"256M\"",
                    value->text);
        return;
    }
    if (bytes == 0 || bytes > CONFIG_MEMORY_MAX) {
        config_fail(c, value, "memory = \"%.40s\": must be 2M to 1024G", value->text);
        return;
    }
    if (bytes % BLOCK_SIZE != 0) {
        config_fail(c, value, "memory = \"%.40s\": must be a multiple of 2M", value->text);
        return;
    }
    out->memory = bytes;
    snprintf(out->memory_text, sizeof(out->memory_text), "%s", value->text);
    out->pos.memory = value_pos(value);
}

void config_read_autostart(struct config_reader *c, const struct toml_node *value) {
    if (want_type(c, value, TOML_BOOL, "true or false"))
        c->out->autostart = value->boolean;
}

static void read_action(struct config_reader *c, const struct toml_node *value, enum vm_action *out) {
    int action = want_word(c, value, action_word, 2);
    if (action >= 0)
        *out = (enum vm_action)action;
}

void config_read_on_shutdown(struct config_reader *c, const struct toml_node *value) {
    read_action(c, value, &c->out->on_shutdown);
}

void config_read_on_reset(struct config_reader *c, const struct toml_node *value) {
    read_action(c, value, &c->out->on_reset);
}

void config_read_on_crash(struct config_reader *c, const struct toml_node *value) {
    read_action(c, value, &c->out->on_crash);
}

// ---- [boot]

static bool has_dotdot(const char *path) {
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p++) {
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
            return true;
    }
    return false;
}

static void read_path(struct config_reader *c, const struct toml_node *value, char *out, struct config_pos *pos) {
    if (!want_text(c, value, CONFIG_PATH_MAX, "a path, a string"))
        return;
    const char *path = bundle_strip(value->text);
    if (*path == '\0' || path[strlen(path) - 1] == '/') {
        config_fail(c, value, "%s = \"%.80s\": names no file", value->key, value->text);
        return;
    }
    if (has_dotdot(path)) {
        config_fail(c, value, "%s = \"%.80s\": '..' has no meaning in the bundle", value->key, value->text);
        return;
    }
    memcpy(out, path, strlen(path) + 1);
    *pos = value_pos(value);
}

void config_read_kernel(struct config_reader *c, const struct toml_node *value) {
    read_path(c, value, c->out->boot.kernel, &c->out->pos.kernel);
}

void config_read_initrd(struct config_reader *c, const struct toml_node *value) {
    read_path(c, value, c->out->boot.initrd, &c->out->pos.initrd);
}

void config_read_dtb(struct config_reader *c, const struct toml_node *value) {
    read_path(c, value, c->out->boot.dtb, &c->out->pos.dtb);
}

void config_read_cmdline(struct config_reader *c, const struct toml_node *value) {
    if (!want_text(c, value, CONFIG_CMDLINE_MAX, "a string"))
        return;
    memcpy(c->out->boot.cmdline, value->text, value->len + 1);
    c->out->pos.cmdline = value_pos(value);
}

void config_read_protocol(struct config_reader *c, const struct toml_node *value) {
    int protocol = want_word(c, value, protocol_word, 4);
    c->protocol_bad = protocol < 0;
    if (protocol >= 0)
        c->out->boot.protocol = (enum boot_protocol)protocol;
}

static bool read_address(struct config_reader *c, const struct toml_node *value, u64 *out, struct config_pos *pos) {
    *pos = value_pos(value); // also of a wrong one: it was given
    if (!want_type(c, value, TOML_INTEGER, "an address, an integer such as 0x40200000"))
        return false;
    if (value->integer < 0) {
        config_fail(c, value, "%s = %lld: must be an address, not negative", value->key, (long long)value->integer);
        return false;
    }
    *out = (u64)value->integer;
    return true;
}

void config_read_load(struct config_reader *c, const struct toml_node *value) {
    c->out->boot.has_load = read_address(c, value, &c->out->boot.load, &c->out->pos.load);
}

void config_read_entry(struct config_reader *c, const struct toml_node *value) {
    c->out->boot.has_entry = read_address(c, value, &c->out->boot.entry, &c->out->pos.entry);
}

// ---- [sched]

static bool read_mask(struct config_reader *c, const struct toml_node *list, u64 *out) {
    *out = 0;
    if (list->count == 0) {
        config_fail(c, list, "affinity: an empty list names no pCPU; leave it out to allow all");
        return false;
    }
    for (const struct toml_node *cpu = list->first; cpu != NULL; cpu = cpu->next) {
        if (cpu->type != TOML_INTEGER) {
            config_fail(c, cpu, "affinity: expected the number of a pCPU, found %s", toml_type_name(cpu->type));
            return false;
        }
        if (cpu->integer < 0 || cpu->integer >= CONFIG_PCPU_MAX) {
            config_fail(c, cpu, "affinity: pCPU %lld: must be 0 to %d", (long long)cpu->integer, CONFIG_PCPU_MAX - 1);
            return false;
        }
        if (*out & BIT(cpu->integer)) {
            config_fail(c, cpu, "affinity: pCPU %lld is named twice in one list", (long long)cpu->integer);
            return false;
        }
        *out |= BIT(cpu->integer);
    }
    return true;
}

void config_read_affinity(struct config_reader *c, const struct toml_node *value) {
    static const char wanted[] = "a list of pCPUs, or one such list for each vCPU";
    struct vm_config *out = c->out;
    u64 mask;
    if (!want_type(c, value, TOML_ARRAY, wanted))
        return;
    c->affinity = value_pos(value);
    if (value->count == 0 || value->first->type != TOML_ARRAY) {
        if (!read_mask(c, value, &mask))
            return;
        out->sched.has_affinity = true;
        for (u32 i = 0; i < VM_CPUS_MAX; i++) {
            out->sched.affinity[i] = mask;
            out->pos.affinity[i] = value_pos(value);
        }
        return;
    }
    for (const struct toml_node *list = value->first; list != NULL; list = list->next) {
        if (list->type != TOML_ARRAY) {
            config_fail(c, list, "affinity: expected a list for each vCPU, found %s", toml_type_name(list->type));
        } else if (read_mask(c, list, &mask) && c->affinity_lists < VM_CPUS_MAX) {
            out->sched.affinity[c->affinity_lists] = mask;
            out->pos.affinity[c->affinity_lists] = value_pos(list);
        }
        c->affinity_lists++;
    }
    out->sched.has_affinity = true;
}

void config_read_priority(struct config_reader *c, const struct toml_node *value) {
    s64 priority;
    if (!want_integer(c, value, 0, CONFIG_PRIORITY_MAX, &priority))
        return;
    c->out->sched.priority = (u32)priority;
    c->out->pos.priority = value_pos(value);
}
