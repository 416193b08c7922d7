/* A QEMU plugin: data accesses and cache misses between the markers, in a model of a Cortex-A72's caches, which are empty
   at the first marker: the first inference counted is one with cold caches. */
#include "plugin.h"

#include "caches.h"

enum { ACCESSES, L1I_MISSES, L1D_MISSES, L2_MISSES, COUNTS };
static const char *const names[COUNTS] = {"data_accesses", "l1i_misses", "l1d_misses", "l2_misses"};
static uint64_t counted[COUNTS], at_start[COUNTS];
static const struct table table = {names, counted, at_start, COUNTS};

static void reach(struct cache *first, int miss, uint64_t line) {
    if (look_up(first, line)) return;
    counted[miss]++;
    counted[L2_MISSES] += !look_up(&second_level, line);
}

/* Lines that a block of instructions lies in, packed into the pointer that QEMU hands back: number of the first one,
   and 16 bits of how many follow. */
static void executed(unsigned vcpu, void *lines) {
    if (!begun) return; /* before the first marker the model would only cost time */
    uint64_t first = (uintptr_t)lines >> 16, more = (uintptr_t)lines & 0xffff;
    for (uint64_t line = first; line <= first + more; line++) reach(&instruction_cache, L1I_MISSES, line);
    (void)vcpu;
}

static void accessed(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data) {
    if (!begun) return;
    uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE_BITS;
    counted[ACCESSES]++;
    for (uint64_t line = address >> LINE_BITS; line <= last; line++) reach(&data_cache, L1D_MISSES, line);
    (void)vcpu, (void)data;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    uint64_t start = qemu_plugin_tb_vaddr(block), bytes = 0;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        bytes += qemu_plugin_insn_size(instruction);
        qemu_plugin_register_vcpu_mem_cb(instruction, accessed, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    }
    uint64_t first = start >> LINE_BITS, more = ((start + bytes - 1) >> LINE_BITS) - first;
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, QEMU_PLUGIN_CB_NO_REGS, (void *)(first << 16 | more));
    (void)id;
}
