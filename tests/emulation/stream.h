/*
 * Streams, captures, events and graphs inside.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EMULATION_STREAM_H
#define EMULATION_STREAM_H

#include "runtime.h"

#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <vector>

namespace emulation
{
using Work = std::function<void()>;

/* Work under way, in the order in which it was queued on the whole device. */
struct Task {
    unsigned long number;
    Work work;
};

/* What a stream, and those that have joined it, record. */
struct Capture {
    CUstream_st *origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool spoilt = false;
    std::vector<Work> tasks;
    std::map<CUstream_st *, bool> unjoined; /* streams that have work the origin has not waited for */
};

extern std::vector<CUstream_st *> streams; /* but the default one */
extern std::vector<std::shared_ptr<Capture>> captures;
extern unsigned long last_task;

CUstream_st &stream_of(cudaStream_t handle);
bool is_stream(const CUstream_st *stream);

/* Runs what has been queued in a stream up to a task. */
void drain(CUstream_st &stream, unsigned long last);
} // namespace emulation

struct CUstream_st {
    bool is_default = false, blocking = true;
    unsigned flags = 0;
    int device = 0;
    std::deque<emulation::Task> queue;
    std::shared_ptr<emulation::Capture> capture;
};

struct CUevent_st {
    bool timing = true;
    CUstream_st *stream = nullptr; /* where it has been recorded, NULL: nowhere */
    unsigned long task = 0;
    std::shared_ptr<double> milliseconds; /* when; negative until then */
    std::shared_ptr<emulation::Capture> capture;
};

struct CUgraph_st {
    std::vector<emulation::Work> tasks;
};

struct CUgraphExec_st {
    std::vector<emulation::Work> tasks;
};

#endif
