/*
 * What kernels ask of memory: see traffic.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "traffic.h"

#ifdef EMULATION_TRAFFIC
#include "runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

namespace emulation
{
namespace
{
constexpr unsigned SECTOR = 32, LINE = 128, BANKS = 32, WORD = 4;
using Address = std::uintptr_t;

/* An instruction that is executed once by each lane of `lanes`. */
struct Request {
    bool is_shared, is_store;
    unsigned bytes, lanes;
    Address address[LANES];
};

/* An instruction, since the warp last met. */
struct Instruction {
    unsigned times[LANES] = {};
    std::vector<Request> requests;
};

struct Counts {
    unsigned long requests = 0, bytes = 0, sectors = 0, least_sectors = 0, wavefronts = 0, least_wavefronts = 0;
};

struct Totals {
    unsigned long launches = 0, shuffles = 0, read = 0, written = 0; /* the last two: different sectors */
    std::map<std::tuple<Address, bool, bool>, Counts> counts;        /* by instruction, shared, store */
};

struct Watch {
    std::unordered_map<const Warp *, std::unordered_map<Address, Instruction>> warps;
    std::map<Address, Totals> kernels;
    Totals *kernel = nullptr;
    std::unordered_set<Address> read, written;
    ~Watch();
};
Watch watch;

/* Words that the fullest bank is asked for, by the lanes of `lanes`. */
unsigned turns_of_banks(const Request &request, unsigned lanes)
{
    std::vector<Address> words;
    for (unsigned lane = 0; lane < LANES; lane++)
        if ((lanes >> lane & 1) != 0)
            for (Address at = request.address[lane] / WORD; at * WORD < request.address[lane] + request.bytes; at++)
                words.push_back(at);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    unsigned turns[BANKS] = {}, most = 0;
    for (Address word : words)
        most = std::max(most, ++turns[word % BANKS]);
    return most;
}

/* Different pieces of `size` bytes that an access touches. */
std::vector<Address> pieces_of(const Request &request, unsigned size)
{
    std::vector<Address> pieces;
    for (unsigned lane = 0; lane < LANES; lane++)
        if ((request.lanes >> lane & 1) != 0)
            for (Address at = request.address[lane] / size; at * size < request.address[lane] + request.bytes; at++)
                pieces.push_back(at);
    std::sort(pieces.begin(), pieces.end());
    pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
    return pieces;
}

void count(Counts &counts, const Request &request)
{
    const unsigned long bytes = pieces_of(request, 1).size();
    counts.requests++;
    counts.bytes += bytes;
    if (request.is_shared) {
        const unsigned lanes = request.bytes <= WORD ? LANES : request.bytes == 8 ? LANES / 2 : LANES / 4;
        for (unsigned first = 0; first < LANES; first += lanes)
            counts.wavefronts +=
                turns_of_banks(request, request.lanes & (lanes == LANES ? ~0u : ((1u << lanes) - 1) << first));
        counts.least_wavefronts += (bytes + BANKS * WORD - 1) / (BANKS * WORD);
        return;
    }
    const std::vector<Address> sectors = pieces_of(request, SECTOR);
    counts.sectors += sectors.size();
    counts.least_sectors += (bytes + SECTOR - 1) / SECTOR;
    counts.wavefronts += pieces_of(request, LINE).size();
    counts.least_wavefronts += (bytes + LINE - 1) / LINE;
    (request.is_store ? watch.written : watch.read).insert(sectors.begin(), sectors.end());
}

bool is_global(const void *address, std::size_t size)
{
    static const char *begin, *end; /* of the allocation that was found last */
    const char *at = static_cast<const char *>(address);
    if (at >= begin && at + size <= end)
        return true;
    const Memory memory = memory_at(address, size);
    if (memory.base == nullptr)
        return false;
    begin = static_cast<const char *>(memory.base);
    end = begin + memory.size;
    return true;
}

bool is_shared(const Block &block, const void *address)
{
    const char *at = static_cast<const char *>(address);
    for (const Shared &shared : block.shared) {
        const char *begin = static_cast<const char *>(shared.memory.get());
        if (at >= begin && at < begin + shared.size)
            return true;
    }
    return false;
}

void access(const void *address, unsigned bytes, bool is_store, void *instruction)
{
    if (here == nullptr || here->fiber.has(address))
        return;
    const bool shared = is_shared(*here->block, address);
    if (!shared && !is_global(address, bytes))
        return;
    Instruction &site = watch.warps[here->warp][reinterpret_cast<Address>(instruction)];
    const unsigned time = site.times[here->lane]++;
    while (site.requests.size() <= time)
        site.requests.push_back({shared, is_store, bytes, 0, {}});
    Request &one = site.requests[time];
    one.lanes |= 1u << here->lane;
    one.address[here->lane] = reinterpret_cast<Address>(address);
}

Address base()
{
    Dl_info of_module;
    dladdr(reinterpret_cast<const void *>(&traffic_end), &of_module);
    return reinterpret_cast<Address>(of_module.dli_fbase);
}
} // namespace

void traffic_met(const Warp &warp)
{
    const auto found = watch.warps.find(&warp);
    if (found == watch.warps.end())
        return;
    for (auto &[instruction, site] : found->second)
        for (const Request &one : site.requests)
            count(watch.kernel->counts[std::make_tuple(instruction, one.is_shared, one.is_store)], one);
    found->second.clear();
}

void traffic_shuffled()
{
    watch.kernel->shuffles++;
}

void traffic_launch(const void *kernel)
{
    watch.kernel = &watch.kernels[reinterpret_cast<Address>(kernel)];
}

void traffic_end()
{
    for (auto &[warp, instructions] : watch.warps)
        traffic_met(*warp);
    watch.warps.clear();
    watch.kernel->launches++;
    watch.kernel->read += watch.read.size();
    watch.kernel->written += watch.written.size();
    watch.read.clear();
    watch.written.clear();
}

/* A line for each kernel, and under it one for each of its instructions; addresses are offsets in the module. */
Watch::~Watch()
{
    const char *name = getenv("EMULATION_TRAFFIC");
    FILE *file = name == nullptr ? nullptr : fopen(name, "w");
    if (file == nullptr)
        return;
    const Address from = base();
    for (const auto &[at, totals] : kernels) {
        fprintf(file, "kernel %#lx %lu %lu %lu %lu\n", at - from, totals.launches, totals.shuffles, totals.read,
                totals.written);
        for (const auto &[which, counts] : totals.counts)
            fprintf(file, "%#lx %s %s %lu %lu %lu %lu %lu %lu\n", std::get<0>(which) - from,
                    std::get<1>(which) ? "shared" : "global", std::get<2>(which) ? "store" : "load", counts.requests,
                    counts.bytes, counts.sectors, counts.least_sectors, counts.wavefronts, counts.least_wavefronts);
    }
    fclose(file);
}
} // namespace emulation

/* ---- what the compiler calls ---- */

extern "C" {
#define ACCESS(name, bytes, is_store)                                                                                  \
    void name(void *address);                                                                                          \
    void name(void *address)                                                                                           \
    {                                                                                                                  \
        emulation::access(address, bytes, is_store, __builtin_return_address(0));                                      \
    }
#define ACCESSES(bytes)                                                                                                \
    ACCESS(__tsan_read##bytes, bytes, false)                                                                           \
    ACCESS(__tsan_write##bytes, bytes, true)
#define MISALIGNED(bytes)                                                                                              \
    ACCESS(__tsan_unaligned_read##bytes, bytes, false)                                                                 \
    ACCESS(__tsan_unaligned_write##bytes, bytes, true)
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
MISALIGNED(2)
MISALIGNED(4)
MISALIGNED(8)
MISALIGNED(16)

/* Whole structures, which nvcc copies by their words. */
void __tsan_read_range(void *address, unsigned long bytes);
void __tsan_read_range(void *address, unsigned long bytes)
{
    for (unsigned long at = 0; at < bytes; at += 8)
        emulation::access(static_cast<char *>(address) + at, 8, false, __builtin_return_address(0));
}

void __tsan_write_range(void *address, unsigned long bytes);
void __tsan_write_range(void *address, unsigned long bytes)
{
    for (unsigned long at = 0; at < bytes; at += 8)
        emulation::access(static_cast<char *>(address) + at, 8, true, __builtin_return_address(0));
}

#define NOTHING(name, parameters)                                                                                      \
    void name parameters;                                                                                              \
    void name parameters                                                                                               \
    {                                                                                                                  \
    }
NOTHING(__tsan_init, (void))
NOTHING(__tsan_func_entry, (void *))
NOTHING(__tsan_func_exit, (void))
NOTHING(__tsan_vptr_update, (void **, void *))
NOTHING(__tsan_vptr_read, (void **))

#define ATOMIC(bits, type)                                                                                             \
    type __tsan_atomic##bits##_load(const volatile type *address, int);                                                \
    type __tsan_atomic##bits##_load(const volatile type *address, int)                                                 \
    {                                                                                                                  \
        return __atomic_load_n(address, __ATOMIC_SEQ_CST);                                                             \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *address, type value, int);                                         \
    void __tsan_atomic##bits##_store(volatile type *address, type value, int)                                          \
    {                                                                                                                  \
        __atomic_store_n(address, value, __ATOMIC_SEQ_CST);                                                            \
    }                                                                                                                  \
    type __tsan_atomic##bits##_fetch_add(volatile type *address, type value, int);                                     \
    type __tsan_atomic##bits##_fetch_add(volatile type *address, type value, int)                                      \
    {                                                                                                                  \
        return __atomic_fetch_add(address, value, __ATOMIC_SEQ_CST);                                                   \
    }
ATOMIC(32, unsigned)
ATOMIC(64, unsigned long)
}
#endif
