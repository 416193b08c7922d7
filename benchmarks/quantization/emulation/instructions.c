/* A QEMU plugin: instructions executed between the markers, by class. */
#include "plugin.h"

#include "a64.h"

static uint64_t executed[CLASSES], at_start[CLASSES];
static const struct table table = {class_names, executed, at_start, CLASSES};

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
