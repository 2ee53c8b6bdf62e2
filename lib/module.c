/*
 * Loading the CUDA module.
 *
 * The library itself does not link CUDA, so that one build serves machines with and without a GPU.  The module is
 * looked for beside the library.  It stays loaded: the CUDA runtime does not survive being unloaded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "module.h"

#include <dlfcn.h>
#include <limits.h>
#include <poslabel/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULE "libposlabel-cuda.so"

static const plb_services services = {plb_fail, plb_workspace};

/* The module's path in the folder of the library (of the program, when it is linked statically); else its name. */
static void path_beside_library(char path[PATH_MAX])
{
    Dl_info info;
    const char *const slash = dladdr(&services, &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    const int folder = slash ? (int)(slash - info.dli_fname) + 1 : 0;
    if (snprintf(path, PATH_MAX, "%.*s" MODULE, folder, slash ? info.dli_fname : "") >= PATH_MAX)
        strcpy(path, MODULE);
}

const plb_backend *plb_load_cuda(char *reason, size_t reason_size)
{
    char path[PATH_MAX];
    const char *const named = secure_getenv("POSLABEL_CUDA_MODULE");
    if (named && *named)
        snprintf(path, sizeof path, "%s", named);
    else
        path_beside_library(path);

    void *const module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        const char *const error = dlerror();
        if (reason && reason_size)
            snprintf(
                reason, reason_size,
                "the CUDA module cannot be loaded: %s (it is built with -Dcuda=enabled, stands beside libposlabel, "
                "and POSLABEL_CUDA_MODULE can name it)",
                error ? error : path);
        return NULL;
    }
    plb_module_entry *entry;
    *(void **)&entry = dlsym(module, PLB_MODULE_ENTRY);
    if (!entry) {
        if (reason && reason_size)
            snprintf(reason, reason_size, "%s is no CUDA module of libposlabel", path);
        return NULL;
    }
    const plb_backend *const backend =
        entry(PLB_BACKEND_VERSION, poslabel_version_string(), &services, reason, reason_size);
    if (backend && backend->version != PLB_BACKEND_VERSION) {
        if (reason && reason_size)
            snprintf(reason, reason_size, "%s is of another version of libposlabel (seam %u, the library has %u)", path,
                     (unsigned)backend->version, (unsigned)PLB_BACKEND_VERSION);
        return NULL;
    }
    return backend;
}
