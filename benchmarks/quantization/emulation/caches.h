/* A set-associative cache of 64-byte lines that replaces the line used longest ago. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LINE_BITS = 6, MOST_WAYS = 16, MOST_SETS = 1024 };

struct cache {
    unsigned sets, ways;
    uint64_t lines[MOST_SETS][MOST_WAYS]; /* of a set, the last used first; 0: empty, else number of the line + 1 */
};

/* Looks a line up and makes it the last used one of its set; true: it was there. */
static bool look_up(struct cache *cache, uint64_t line) {
    uint64_t *set = cache->lines[line % cache->sets];
    unsigned way = 0;
    while (way < cache->ways && set[way] != line + 1) way++;
    bool hit = way < cache->ways;
    if (!hit) way--; /* the last one leaves */
    memmove(set + 1, set, way * sizeof *set);
    set[0] = line + 1;
    return hit;
}

/* A Cortex-A72's caches (its Technical Reference Manual, Arm 100095, chapters 6 and 7), with 1 MB of level 2 as on a
   Raspberry Pi 4, for one core alone. The model has virtual addresses, no prefetcher, and the least recently used line
   replaced everywhere; writes allocate. */
static struct cache instruction_cache = {.sets = 48 * 1024 / 64 / 3, .ways = 3};
static struct cache data_cache = {.sets = 32 * 1024 / 64 / 2, .ways = 2};
static struct cache second_level = {.sets = 1024 * 1024 / 64 / 16, .ways = 16};
