// SPDX-License-Identifier: Apache-2.0
// The host command: checks configurations, bundles them with their images, boots the bundle in QEMU.
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tools.h"
#include "version.h"

static const char usage_text[] =
    "Usage: bulkhead check  [-C DIR] [--arch A] [--memory M] [--smp N] FILE.toml...\n"
    "       bulkhead bundle -o OUT.cpio [-C DIR] [--arch A] FILE.toml...\n"
    "       bulkhead run    [-C DIR] [--arch A] [--memory M] [--smp N] [--cpu C] [--append STR]\n"
    "                       [--image BIN] [--print] FILE.toml... [-- QEMU-ARGUMENT...]\n"
    "\n"
    "  check    validate; every error at once, as file:line:column: message\n"
    "  bundle   check, then pack the configurations and the images they name\n"
    "  run      check, bundle and boot in QEMU\n"
    "\n"
    "  -C, --directory DIR  the images that a FILE names are in DIR (check: without it they are\n"
    "                       not looked at; bundle, run: the current directory)\n"
    "  -o, --output OUT     the bundle to write\n"
    "      --arch A         aarch64, riscv64 or x86_64 (run: aarch64)\n"
    "      --memory M       the machine's memory, such as 2G (run: 2G)\n"
    "      --smp N          the machine's CPUs (run: 4)\n"
    "      --cpu C          QEMU's CPU model (run: cortex-a57, rv64)\n"
    "      --append STR     the hypervisor's command line, such as idle=shell\n"
    "      --image BIN      the hypervisor's image (run: the one built with this command)\n"
    "      --print          show the commands instead of running them\n"
    "  -h, --help           this help\n"
    "      --version        the version\n"
    "\n"
    "Exit status: 0 fine, 1 errors, 2 wrong usage.\n";

enum option_id { OPT_ARCH = 256, OPT_MEMORY, OPT_SMP, OPT_CPU, OPT_APPEND, OPT_IMAGE, OPT_PRINT, OPT_VERSION };

static const struct option long_options[] = {
    {"directory", required_argument, NULL, 'C'},     {"output", required_argument, NULL, 'o'},
    {"arch", required_argument, NULL, OPT_ARCH},     {"memory", required_argument, NULL, OPT_MEMORY},
    {"smp", required_argument, NULL, OPT_SMP},       {"cpu", required_argument, NULL, OPT_CPU},
    {"append", required_argument, NULL, OPT_APPEND}, {"image", required_argument, NULL, OPT_IMAGE},
    {"print", no_argument, NULL, OPT_PRINT},         {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPT_VERSION},     {0},
};

enum command { CHECK = 1, BUNDLE = 2, RUN = 4 };

struct arguments {
    enum command command;
    const char *output;
    struct project_options project;
    struct run_options run;
    char **files;
    size_t count;
};

static int usage(void) {
    fputs("Try 'bulkhead --help'.\n", stderr);
    return EXIT_USAGE;
}

static int print_help(void) {
    fputs(usage_text, stdout);
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_ERRORS;
}

static int print_version(void) {
    puts("bulkhead " BULKHEAD_VERSION);
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_ERRORS;
}

// The commands that know an option.
static unsigned option_commands(int id) {
    switch (id) {
    case 'o':
        return BUNDLE;
    case 'C':
    case OPT_ARCH:
        return CHECK | BUNDLE | RUN;
    case OPT_MEMORY:
    case OPT_SMP:
        return CHECK | RUN;
    default:
        return RUN;
    }
}

static void set_option(struct arguments *a, int id, const char *value) {
    switch (id) {
    case 'C':
        a->project.dir = value;
        break;
    case 'o':
        a->output = value;
        break;
    case OPT_ARCH:
        a->project.arch = value;
        break;
    case OPT_MEMORY:
        a->project.memory = value;
        break;
    case OPT_SMP:
        a->project.smp = value;
        break;
    case OPT_CPU:
        a->run.cpu = value;
        break;
    case OPT_APPEND:
        a->run.append = value;
        break;
    case OPT_IMAGE:
        a->run.image = value;
        break;
    case OPT_PRINT:
        a->run.print = true;
        break;
    default:
        break;
    }
}

static const char *option_name(int id) {
    for (const struct option *option = long_options; option->name != NULL; option++) {
        if (option->val == id)
            return option->name;
    }
    return "?";
}

// -1: go on; else the exit status.
static int parse_options(struct arguments *a, int argc, char **argv) {
    const char *name = argv[0];
    argv[0] = "bulkhead"; // getopt's messages begin with it
    for (int id; (id = getopt_long(argc, argv, "C:o:h", long_options, NULL)) != -1;) {
        if (id == 'h')
            return print_help();
        if (id == OPT_VERSION)
            return print_version();
        if (id == '?')
            return usage();
        if (!(option_commands(id) & a->command)) {
            fprintf(stderr, "bulkhead: %s has no option --%s\n", name, option_name(id));
            return usage();
        }
        set_option(a, id, optarg);
    }
    a->files = argv + optind;
    a->count = (size_t)(argc - optind);
    if (a->count == 0) {
        fprintf(stderr, "bulkhead: %s: which FILE.toml?\n", name);
        return usage();
    }
    if (a->command == BUNDLE && a->output == NULL) {
        fputs("bulkhead: bundle: -o OUT.cpio is missing\n", stderr);
        return usage();
    }
    return -1;
}

static int check(struct arguments *a, const struct project *project) {
    (void)project;
    printf("%zu configuration%s, no errors\n", a->count, a->count == 1 ? "" : "s");
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_ERRORS;
}

static int bundle(struct arguments *a, const struct project *project) {
    // Under another name first: an interrupted call leaves no half bundle.
    char *partial = host_format("%s.part", a->output);
    FILE *out = fopen(partial, "wb");
    bool written = out != NULL && cpio_write(out, project);
    if (out != NULL && fclose(out) != 0)
        written = false;
    written = written && rename(partial, a->output) == 0;
    if (!written) {
        fprintf(stderr, "bulkhead: %s: %s\n", a->output, hostfile_error());
        remove(partial);
    }
    free(partial);
    return written ? EXIT_FINE : EXIT_ERRORS;
}

static int run(struct arguments *a, const struct project *project) {
    a->run.dir = a->project.dir;
    a->run.arch = a->project.arch;
    a->run.memory = a->project.memory;
    a->run.smp = a->project.smp;
    a->run.files = a->files;
    a->run.file_count = a->count;
    return run_qemu(&a->run, project);
}

static const struct {
    const char *name;
    enum command command;
    int (*function)(struct arguments *a, const struct project *project);
    struct project_options defaults;
} commands[] = {
    {"check", CHECK, check, {0}},
    {"bundle", BUNDLE, bundle, {.dir = "."}},
    {"run", RUN, run, {.dir = ".", .arch = "aarch64", .memory = "2G", .smp = "4"}},
};

static int execute(struct arguments *a, int (*function)(struct arguments *a, const struct project *project)) {
    struct project project;
    int status;
    unsigned errors = project_load(&a->project, a->files, a->count, &project);
    if (errors > 0) {
        fprintf(stderr, "bulkhead: %u error%s\n", errors, errors == 1 ? "" : "s");
        status = EXIT_ERRORS;
    } else {
        status = function(a, &project);
    }
    project_free(&project);
    return status;
}

// What stands behind "--" is QEMU's. Cuts it off argv.
static char *const *cut_qemu_args(int *argc, char **argv) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            *argc = i;
            argv[i] = NULL;
            return argv + i + 1;
        }
    }
    return argv + *argc;
}

int main(int argc, char **argv) {
    struct arguments a = {0};
    if (argc < 2) {
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)
        return print_version();
    size_t i = 0;
    while (i < sizeof(commands) / sizeof(commands[0]) && strcmp(argv[1], commands[i].name) != 0)
        i++;
    if (i == sizeof(commands) / sizeof(commands[0])) {
        fprintf(stderr, "bulkhead: unknown command '%s'; there are check, bundle and run\n", argv[1]);
        return usage();
    }
    argc--;
    argv++;
    a.command = commands[i].command;
    a.project = commands[i].defaults;
    a.run.qemu_args = argv + argc; // NULL: none
    if (a.command == RUN)
        a.run.qemu_args = cut_qemu_args(&argc, argv);
    int status = parse_options(&a, argc, argv);
    if (status >= 0)
        return status;
    if (!project_options_valid(&a.project))
        return EXIT_USAGE;
    return execute(&a, commands[i].function);
}
