/* Classes of 64-bit ARM instructions, from the encoding tables of the Arm Architecture Reference Manual (DDI 0487,
   chapter C4): what an inference spends its instructions on. */
#include <stddef.h>
#include <stdint.h>

enum class { INTEGER, BRANCH, LOAD_STORE, VECTOR_LOAD_STORE, FLOAT_MLA, INT_MLA, VECTOR_OTHER, CLASSES };

static const char *const class_names[CLASSES] = {
    "integer", "branch", "load_store", "vector_load_store", "float_mla", "int_mla", "vector_other"};

/* Vector instructions that multiply: an instruction belongs to the first row with (word & mask) == bits. */
static const struct { uint32_t mask, bits; enum class class; } multiplications[] = {
    {0xff000000, 0x1f000000, FLOAT_MLA}, /* fmadd, fmsub, fnmadd, fnmsub */
    {0xbf20fc00, 0x0e20cc00, FLOAT_MLA}, /* fmla, fmls: bit 23 tells which */
    {0xbf80b400, 0x0f801000, FLOAT_MLA}, /* fmla, fmls by element: bit 14 tells which */
    {0x9f20fc00, 0x0e209400, INT_MLA},   /* mla, mls */
    {0xbf20fc00, 0x0e209c00, INT_MLA},   /* mul */
    {0x9f20dc00, 0x0e208000, INT_MLA},   /* [su]mlal, [su]mlsl: bit 13 tells which */
    {0x9f20fc00, 0x0e20c000, INT_MLA},   /* [su]mull */
    {0xbf00b400, 0x2f000000, INT_MLA},   /* mla, mls by element */
    {0xbf00f400, 0x0f008000, INT_MLA},   /* mul by element */
    {0x9f00b400, 0x0f002000, INT_MLA},   /* [su]mlal, [su]mlsl by element */
    {0x9f00f400, 0x0f00a000, INT_MLA},   /* [su]mull by element */
};

static enum class class_of(uint32_t word) {
    uint32_t group = word >> 25 & 15; /* the manual's op0 */
    if ((group & 14) == 10) return BRANCH; /* and exceptions, system registers, barriers */
    if ((group & 5) == 4) return word >> 26 & 1 ? VECTOR_LOAD_STORE : LOAD_STORE;
    if ((group & 7) != 7) return INTEGER;
    for (size_t i = 0; i < sizeof multiplications / sizeof *multiplications; i++)
        if ((word & multiplications[i].mask) == multiplications[i].bits) return multiplications[i].class;
    return VECTOR_OTHER;
}
