/*
 * A cuBLAS that cannot be opened, for test_linear_cublas, which recognises it by its message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
int cublasCreate_v2(void *handle);
const char *cublasGetStatusString(int status);
int cublasDestroy_v2(void), cublasSetStream_v2(void), cublasSetWorkspace_v2(void), cublasSetMathMode(void),
    cublasSetPointerMode_v2(void), cublasGemmEx(void);

int cublasCreate_v2(void *handle)
{
    (void)handle;
    return 1;
}

const char *cublasGetStatusString(int status)
{
    return status == 1 ? "the false cuBLAS" : "another status";
}

#define NEVER_CALLED(name)                                                                                             \
    int name(void)                                                                                                     \
    {                                                                                                                  \
        return 1;                                                                                                      \
    }
NEVER_CALLED(cublasDestroy_v2)
NEVER_CALLED(cublasSetStream_v2)
NEVER_CALLED(cublasSetWorkspace_v2)
NEVER_CALLED(cublasSetMathMode)
NEVER_CALLED(cublasSetPointerMode_v2)
NEVER_CALLED(cublasGemmEx)
