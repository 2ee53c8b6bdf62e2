/* stand-ins until the operations come */
#include "cuda.h"
#define STUB(name, job) poslabel_status name(const plb_call *call, const job *) { return plb_cuda_fail(call, POSLABEL_ERROR_UNSUPPORTED, "not on CUDA yet"); }
STUB(plb_cuda_absolute_labels, plb_labels_job)
STUB(plb_cuda_relative_labels, plb_labels_job)
STUB(plb_cuda_smoothing_map, plb_smoothing_map_job)
STUB(plb_cuda_assemble_tokens, plb_assemble_job)
STUB(plb_cuda_assemble_tokens_backward, plb_assemble_backward_job)
STUB(plb_cuda_attentive_weights, plb_attention_job)
STUB(plb_cuda_scale_gradient, plb_scale_job)
