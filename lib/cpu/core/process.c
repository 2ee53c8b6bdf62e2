/*
 * What the process that the library runs in can do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dl_iterate_phdr() */
#endif
#include "cpu/core/process.h"

#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool plb_process_was_forked(void)
{
    enum { FORKED_WITHOUT_EXEC = 0x40 }; /* the kernel's PF_FORKNOEXEC */
    char text[512];
    FILE *const file = fopen("/proc/self/stat", "re");
    if (!file)
        return false;
    const size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* "pid (name) state ppid pgrp session tty tpgid flags ...", and a name may hold anything */
    const char *const name_end = strrchr(text, ')');
    unsigned flags = 0;
    return name_end && sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & FORKED_WITHOUT_EXEC;
}

/* The places of two shared objects in the list of the dynamic loader, which is in the order of loading. */
typedef struct load_order {
    uintptr_t code[2];
    int place[2]; /* 0: not found */
    int objects;
} load_order;

static int find_places(struct dl_phdr_info *object, size_t size, void *argument)
{
    load_order *const order = argument;
    (void)size;
    order->objects++;
    for (int s = 0; s < object->dlpi_phnum; s++) {
        const ElfW(Phdr) *const segment = &object->dlpi_phdr[s];
        for (int i = 0; i < 2; i++)
            if (segment->p_type == PT_LOAD &&
                order->code[i] - (object->dlpi_addr + segment->p_vaddr) < segment->p_memsz)
                order->place[i] = order->objects;
    }
    return 0;
}

bool plb_process_loaded_before(uintptr_t first, uintptr_t second)
{
    load_order order = {.code = {first, second}};
    dl_iterate_phdr(find_places, &order);
    return !order.place[0] || !order.place[1] || order.place[0] <= order.place[1];
}

/* Threads that are held until all have been started. */
typedef struct held_thread {
    pthread_t thread;
    pthread_mutex_t *gate;
    long id;
} held_thread;

static void *wait_at_gate(void *argument)
{
    held_thread *const self = argument;
    self->id = syscall(SYS_gettid);
    pthread_mutex_lock(self->gate);
    pthread_mutex_unlock(self->gate);
    return NULL;
}

/* A thread that was joined counts against the limits of the process until the kernel has removed it. */
static void wait_until_gone(long id)
{
    enum { MOST_YIELDS = 1000 };
    for (int i = 0; i < MOST_YIELDS && syscall(SYS_tgkill, getpid(), id, 0) == 0; i++)
        sched_yield();
}

bool plb_process_gets_threads(int count, size_t stack_size)
{
    held_thread held[PLB_MOST_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_attr_t attributes;
    int started = 0;
    if (count > PLB_MOST_THREADS || pthread_attr_init(&attributes))
        return false;
    if (stack_size)
        pthread_attr_setstacksize(&attributes, stack_size); /* OpenMP keeps the default, too, where this fails */
    pthread_mutex_lock(&gate);
    for (; started < count; started++) {
        held[started].gate = &gate;
        if (pthread_create(&held[started].thread, &attributes, wait_at_gate, &held[started]))
            break;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++)
        pthread_join(held[i].thread, NULL);
    for (int i = 0; i < started; i++)
        wait_until_gone(held[i].id);
    pthread_attr_destroy(&attributes);
    return started == count;
}
