/* A QEMU plugin: instructions executed between the markers, by class. */
#include "plugin.h"

#include "a64.h"

static uint64_t executed[CLASSES], at_start[CLASSES];

/* Additions that QEMU compiles into the translated block: no call at all while the guest runs. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    uint64_t of_block[CLASSES] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        of_block[class_of(word)]++;
    }
    for (int c = 0; c < CLASSES; c++)
        if (of_block[c])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed[c], of_block[c]);
    (void)id;
}

static void called(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t folder, uint64_t path, uint64_t mode,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    if (number == FACCESSAT && mode == MARK_START) memcpy(at_start, executed, sizeof at_start);
    if (number == FACCESSAT && mode == MARK_STOP) {
        uint64_t between[CLASSES];
        for (int c = 0; c < CLASSES; c++) between[c] = executed[c] - at_start[c];
        append(class_names, between, CLASSES);
    }
    (void)id, (void)vcpu, (void)folder, (void)path, (void)d, (void)e, (void)f, (void)g, (void)h;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    if (!take_arguments(count, arguments)) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    (void)info;
    return 0;
}
