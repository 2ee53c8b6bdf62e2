/* stand-ins until the operations come */
#include "cuda.h"
#define STUB(name, job) poslabel_status name(const plb_call *call, const job *) { return plb_cuda_fail(call, POSLABEL_ERROR_UNSUPPORTED, "not on CUDA yet"); }
STUB(plb_cuda_masks, plb_masks_job)
