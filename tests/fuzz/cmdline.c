// SPDX-License-Identifier: Apache-2.0
// The hypervisor's command line: always a complete answer, one sentence a wrong word, no memory of what was there.
#include "cmdline.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static u32 warnings;

static void warn(void *ctx, const char *message) {
    FUZZ_CHECK(ctx == &warnings);
    FUZZ_CHECK(message[0] && strlen(message) < 200);
    warnings++;
}

static u32 word_count(const char *text) {
    u32 count = 0;
    for (bool in = false; *text; text++) {
        bool blank = strchr(" \t\r\n", *text);
        count += !blank && !in;
        in = !blank;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    static struct cmdline a, b;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    a.idle = IDLE_REBOOT;
    a.autostart = false;
    memset(a.console, 'x', sizeof(a.console));
    b.autostart = true;
    warnings = 0;
    cmdline_parse(text, &a, warn, &warnings);
    FUZZ_CHECK(warnings <= word_count(text));
    cmdline_parse(text, &b, NULL, NULL);
    FUZZ_CHECK(a.idle <= IDLE_REBOOT && a.loglevel <= LOG_DEBUG);
    FUZZ_CHECK(a.console[0] && strnlen(a.console, sizeof(a.console)) < sizeof(a.console));
    FUZZ_CHECK(a.idle == b.idle && a.loglevel == b.loglevel && a.autostart == b.autostart);
    FUZZ_CHECK(strcmp(a.console, b.console) == 0);
    free(text);
    return 0;
}
