/* What the two plugins share: the part of QEMU's plugin interface (version 1: QEMU 5.2 to 8.2) that they call, declared
   here because distributions do not package it, and the markers that a guest sets around an inference.

   A guest marks by access("", MARK_START) and access("", MARK_STOP): system call 48 (faccessat) of 64-bit ARM, which
   the kernel refuses without any effect, since a mode has three bits. Counts of the time between the two are appended
   to the file that the plugin's argument "out" names, one line a pair of markers. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };

typedef void (*on_translation)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_execution)(unsigned vcpu, void *data);
typedef void (*on_access)(unsigned vcpu, qemu_plugin_meminfo_t, uint64_t address, void *data);
typedef void (*on_syscall)(qemu_plugin_id_t, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_translation);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, on_syscall);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, on_execution, enum qemu_plugin_cb_flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *sum, uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, on_access, enum qemu_plugin_cb_flags,
                                      enum qemu_plugin_mem_rw, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { FACCESSAT = 48, MARK_START = 0x4d41524b, MARK_STOP = 0x4d41524c };

/* What each of the two defines: its counts, and what it does with a block of instructions that QEMU has translated. */
struct table {
    const char *const *names;
    uint64_t *counted, *at_start; /* [size] each: so far, and up to the last MARK_START */
    size_t size;
};
static const struct table table;
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block);

static bool begun; /* the first marker was seen */
static const char *out_path;

/* The argument "out=FILE"; false without one. */
static bool take_arguments(int count, char **arguments) {
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], "out=", 4)) out_path = strdup(arguments[i] + 4);
    return out_path != NULL;
}

/* Appends "name=count name=count ..."; a plugin that cannot write ends the run, lest half a table be read. */
static void append(void) {
    FILE *file = fopen(out_path, "a");
    if (!file) { perror(out_path); exit(1); }
    for (size_t i = 0; i < table.size; i++)
        fprintf(file, "%s=%" PRIu64 "%c", table.names[i], table.counted[i] - table.at_start[i],
                i + 1 < table.size ? ' ' : '\n');
    if (fclose(file)) { perror(out_path); exit(1); }
}

static void called(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t folder, uint64_t path, uint64_t mode,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    if (number == FACCESSAT && mode == MARK_START) {
        begun = true;
        memcpy(table.at_start, table.counted, table.size * sizeof *table.counted);
    }
    if (number == FACCESSAT && mode == MARK_STOP) append();
    (void)id, (void)vcpu, (void)folder, (void)path, (void)d, (void)e, (void)f, (void)g, (void)h;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    if (!take_arguments(count, arguments)) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    (void)info;
    return 0;
}
