// SPDX-License-Identifier: Apache-2.0
// The common view of two VMs that print arbitrary bytes. The terminal gets whole lines behind their VM's name, text,
// colours and nothing that moves the cursor off its line or makes the terminal answer.
#include "console_view.h"
#include "fuzz.h"

#include <string.h>

static char data_out[4096];
static struct view view;
static struct view_line lines[2];

// A terminal that refuses all but what the view may say.
static struct {
    u32 column;    // characters on its line
    bool start;    // nothing yet on this line, or its rewriting
    bool coloured; // since the last reset
    bool rewrote;  // ESC [ 0 m was the last thing
} term;

static const char *utf8(const char *p, const char *end) {
    u8 first = (u8)*p;
    u32 more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    FUZZ_CHECK(first >= 0xc2 && first <= 0xf4 && end - p > more);
    u32 code = first & (0x3fu >> more);
    for (u32 i = 1; i <= more; i++) {
        FUZZ_CHECK(((u8)p[i] & 0xc0) == 0x80);
        code = code << 6 | ((u8)p[i] & 0x3f);
    }
    FUZZ_CHECK(code >= 0xa0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)); // no C1 control
    FUZZ_CHECK(more < 2 || code >= (more == 2 ? 0x800u : 0x10000u));
    return p + 1 + more;
}

static const char *escape(const char *p, const char *end) {
    FUZZ_CHECK(end - p >= 3 && p[1] == '[');
    const char *q = p + 2;
    while (q < end && ((*q >= '0' && *q <= '9') || *q == ';' || *q == ':'))
        q++;
    FUZZ_CHECK(q < end && q - p < ESCAPE_SEQ_MAX && (*q == 'm' || (*q == 'K' && q == p + 2)));
    bool off = *q == 'm' && (q == p + 2 || (q == p + 3 && p[2] == '0'));
    if (*q == 'm')
        term.coloured = !off;
    term.rewrote = off;
    return q + 1;
}

// A line, and its rewriting, begin with a name.
static const char *name(const char *p, const char *end) {
    static const char *const prefixes[] = {"a        | ", "bb       | ", "bulkhead | "};
    for (u32 i = 0; i < ARRAY_SIZE(prefixes); i++)
        if ((size_t)(end - p) >= strlen(prefixes[i]) && memcmp(p, prefixes[i], strlen(prefixes[i])) == 0)
            return p + strlen(prefixes[i]);
    fuzz_failed(__FILE__, __LINE__, "a line begins with a name");
}

static void show(const struct view_out *out) {
    const char *p = out->data, *end = p + out->len;
    FUZZ_CHECK(out->len <= VIEW_BURST_MAX);
    while (p < end) {
        if (term.start && *p != '\r') {
            p = name(p, end);
            term.start = false;
            term.column = 0;
            continue;
        }
        bool rewrote = term.rewrote;
        term.rewrote = false;
        if (*p == '\x1b') {
            p = escape(p, end);
        } else if (*p == '\r' && end - p > 1 && p[1] == '\n') {
            FUZZ_CHECK(!term.coloured && !term.start);
            p += 2;
            term.start = true;
        } else if (*p == '\r') { // the line is drawn again, in no colour
            FUZZ_CHECK(rewrote && !term.coloured);
            p++;
            term.start = true;
        } else {
            FUZZ_CHECK((u8)*p >= ' ' && *p != 0x7f && ++term.column <= VIEW_COLUMNS);
            p = (u8)*p < 0x80 ? p + 1 : utf8(p, end);
        }
    }
}

#define SHOWN(call)                                                                                                    \
    do {                                                                                                               \
        struct view_out out = {.data = data_out, .size = VIEW_BURST_MAX};                                              \
        call;                                                                                                          \
        show(&out);                                                                                                    \
    } while (0)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) {
    struct fuzz f = {data, size};
    view = (struct view){.name_width = 8};
    view_line_init(&lines[0], "a");
    view_line_init(&lines[1], "bb");
    memset(&term, 0, sizeof(term));
    term.start = true;
    while (fuzz_more(&f)) {
        u8 head = fuzz_u8(&f);
        struct view_line *line = &lines[head & 1];
        size_t count = head >> 3;
        const u8 *bytes = fuzz_bytes(&f, &count);
        for (size_t i = 0; i < count; i++)
            SHOWN(view_putc(&view, line, (char)bytes[i], &out));
        if ((head & 6) == 2)
            SHOWN(view_show(&view, line, &out));
        else if ((head & 6) == 4)
            SHOWN(view_close(&view, &out));
        else if ((head & 6) == 6)
            SHOWN(view_print(&view, "bulkhead", "a line of the log", &out));
        FUZZ_CHECK(lines[0].len <= VIEW_TEXT_MAX && lines[1].len <= VIEW_TEXT_MAX);
        FUZZ_CHECK(lines[0].shown <= lines[0].len || lines[0].redraw);
        FUZZ_CHECK(lines[1].shown <= lines[1].len || lines[1].redraw);
    }
    SHOWN(view_close(&view, &out));
    FUZZ_CHECK(term.start && !term.coloured);
    return 0;
}
