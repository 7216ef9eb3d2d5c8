// SPDX-License-Identifier: Apache-2.0
// Boots a bundle in QEMU.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools.h"

// How each architecture's machine is called in QEMU.
//
// x86_64: all CPUs on one thread. With a thread each, QEMU (10.0) loses changes of its first CPU's flags (hflags2):
// FXRSTOR and XRSTOR on any other CPU rewrite them without a lock (cpu_clear_ignne). If that happens as the first CPU
// enters or leaves a guest, it goes on with nested paging wrongly on or off, and the guest or the hypervisor ends in a
// triple fault: minutes of load in two Linux guests are enough.
static const struct machine {
    const char *arch, *qemu, *machine, *cpu, *image, *accel;
} machines[] = {
    {"aarch64", "qemu-system-aarch64", "virt,virtualization=on,gic-version=3", "cortex-a57", "bulkhead.bin", NULL},
    {"riscv64", "qemu-system-riscv64", "virt", "rv64", "bulkhead.bin", NULL},
    {"x86_64", "qemu-system-x86_64", "q35", "max", "bulkhead.elf", "tcg,thread=single"}, // TCG's SVM
};

enum { ARGS_MAX = 256, PATH_BYTES = 4096 };

struct args {
    const char *arg[ARGS_MAX + 1];
    size_t count;
};

static void add(struct args *args, const char *arg) {
    if (args->count == ARGS_MAX) {
        fputs("bulkhead: too many arguments for QEMU\n", stderr);
        exit(EXIT_USAGE);
    }
    args->arg[args->count++] = arg;
}

static void add_pair(struct args *args, const char *option, const char *value) {
    add(args, option);
    add(args, value);
}

static const struct machine *find_machine(const char *arch) {
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        if (strcmp(machines[i].arch, arch) == 0)
            return &machines[i];
    }
    return NULL;
}

// The image that was built with us: we are build/host/bulkhead, it is build/ARCH/bulkhead.bin or .elf.
static char *default_image(const struct machine *machine) {
    char exe[PATH_BYTES];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (len < 0)
        len = 0;
    exe[len] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(exe, '/');
        if (slash == NULL)
            return host_format("build/%s/%s", machine->arch, machine->image);
        *slash = '\0';
    }
    return host_format("%s/%s/%s", exe, machine->arch, machine->image);
}

// QEMU takes the first accelerator that works; what the user says goes before what we would.
static bool names_accel(char *const *args) {
    for (; *args != NULL; args++) {
        if (strcmp(*args, "-accel") == 0 || strcmp(*args, "--accel") == 0)
            return true;
    }
    return false;
}

static void qemu_command(struct args *args, const struct run_options *o, const struct machine *machine,
                         const char *image, const char *bundle) {
    add(args, machine->qemu);
    add_pair(args, "-M", machine->machine);
    if (machine->accel != NULL && !names_accel(o->qemu_args))
        add_pair(args, "-accel", machine->accel);
    add_pair(args, "-cpu", o->cpu != NULL ? o->cpu : machine->cpu);
    add_pair(args, "-smp", o->smp);
    add_pair(args, "-m", o->memory);
    add_pair(args, "-nic", "none"); // nobody uses one, and its boot ROM is a package of its own
    add(args, "-nographic");
    add_pair(args, "-kernel", image);
    add_pair(args, "-initrd", bundle);
    if (o->append != NULL && o->append[0] != '\0')
        add_pair(args, "-append", o->append);
    for (char *const *arg = o->qemu_args; *arg != NULL; arg++)
        add(args, *arg);
}

// A word as a shell reads it.
static void print_word(const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        fputs(word, stdout);
        return;
    }
    putchar('\'');
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*word);
    }
    putchar('\'');
}

static void print_command(const struct args *args) {
    for (size_t i = 0; i < args->count; i++) {
        if (i > 0)
            putchar(' ');
        print_word(args->arg[i]);
    }
    putchar('\n');
}

static int print_commands(const struct run_options *o, const struct args *qemu) {
    struct args bundle = {0};
    add(&bundle, "bulkhead");
    add(&bundle, "bundle");
    add_pair(&bundle, "-o", "bundle.cpio");
    add_pair(&bundle, "-C", o->dir);
    for (size_t i = 0; i < o->file_count; i++)
        add(&bundle, o->files[i]);
    print_command(&bundle);
    print_command(qemu);
    return fflush(stdout) == 0 ? EXIT_FINE : EXIT_ERRORS;
}

// ---- the child

static volatile sig_atomic_t child;

static void forward(int signal) {
    if (child > 0)
        kill((pid_t)child, signal);
}

static int wait_for_child(void) {
    int status;
    while (waitpid((pid_t)child, &status, 0) < 0) {
        // Interrupted: the signal has been handed on, and the child ends in its own time.
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? EXIT_FINE : EXIT_ERRORS;
    fprintf(stderr, "bulkhead: QEMU ended by signal %d\n", WTERMSIG(status));
    return EXIT_ERRORS;
}

static int start(const struct args *args) {
    struct sigaction action = {.sa_handler = forward};
    sigset_t blocked, before;
    sigemptyset(&action.sa_mask);
    sigfillset(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &before); // until there is a child to hand signals on to
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        char *argv[ARGS_MAX + 1];
        memcpy(argv, args->arg, sizeof(argv));
        execvp(argv[0], argv);
        fprintf(stderr, "bulkhead: %s: %s\n", argv[0], hostfile_error());
        _exit(127);
    }
    if (pid < 0) {
        fprintf(stderr, "bulkhead: fork: %s\n", hostfile_error());
        return EXIT_ERRORS;
    }
    child = (sig_atomic_t)pid;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN; // the terminal sends these to the child as well, and it decides
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGQUIT, &action, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return wait_for_child();
}

// ---- the bundle

static bool write_bundle(const char *path, const struct project *project) {
    FILE *out = fopen(path, "wb");
    bool written = out != NULL && cpio_write(out, project);
    if (out != NULL && fclose(out) != 0)
        written = false;
    if (!written)
        fprintf(stderr, "bulkhead: %s: %s\n", path, hostfile_error());
    return written;
}

static int boot(const struct run_options *o, const struct machine *machine, const char *image,
                const struct project *project) {
    const char *tmp = getenv("TMPDIR");
    char *dir = host_format("%s/bulkhead-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL) {
        fprintf(stderr, "bulkhead: %s: %s\n", dir, hostfile_error());
        free(dir);
        return EXIT_ERRORS;
    }
    char *bundle = host_format("%s/bundle.cpio", dir);
    struct args args = {0};
    int status = EXIT_ERRORS;
    qemu_command(&args, o, machine, image, bundle);
    if (write_bundle(bundle, project))
        status = start(&args);
    unlink(bundle);
    rmdir(dir);
    free(bundle);
    free(dir);
    return status;
}

int run_qemu(const struct run_options *o, const struct project *project) {
    const struct machine *machine = find_machine(o->arch);
    if (machine == NULL) {
        fprintf(stderr, "bulkhead: run: %s cannot be booted yet\n", o->arch);
        return EXIT_USAGE;
    }
    char *image = o->image != NULL ? host_format("%s", o->image) : default_image(machine);
    int status;
    if (o->print) {
        struct args args = {0};
        qemu_command(&args, o, machine, image, "bundle.cpio");
        status = print_commands(o, &args);
    } else if (access(image, R_OK) != 0) {
        fprintf(stderr, "bulkhead: the hypervisor's image %s: %s\n", image, hostfile_error());
        status = EXIT_ERRORS;
    } else {
        status = boot(o, machine, image, project);
    }
    free(image);
    return status;
}
