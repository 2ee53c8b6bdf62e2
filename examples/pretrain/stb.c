/*
 * stb.c: the one place where stb's single-file libraries are compiled.
 *
 * stb_image reads JPEG and PNG, stb_image_write writes PNG.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STB_IMAGE_IMPLEMENTATION
#include <stb_image.h>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
