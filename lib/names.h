// SPDX-License-Identifier: Apache-2.0
// On a hosted build the C library's names are taken: our routines are called lib_* there, so that the tests can set
// them beside the system's.
#pragma once

#if __STDC_HOSTED__
#define memcpy lib_memcpy
#define memmove lib_memmove
#define memset lib_memset
#define memcmp lib_memcmp
#define memchr lib_memchr
#define strlen lib_strlen
#define strnlen lib_strnlen
#define strcmp lib_strcmp
#define strncmp lib_strncmp
#define strchr lib_strchr
#define strrchr lib_strrchr
#define strstr lib_strstr
#define strtoul lib_strtoul
#define strtoull lib_strtoull
#define snprintf lib_snprintf
#define vsnprintf lib_vsnprintf
#endif
