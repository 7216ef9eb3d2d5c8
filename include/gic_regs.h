// SPDX-License-Identifier: Apache-2.0
// The memory-mapped registers of a GICv3 (IHI 0069 §12.9, §12.11): offsets and fields, for the model and for the driver
// of the physical one.
#pragma once

#include "types.h"

enum { GIC_SGIS = 16, GIC_PRIVATE = 32, GIC_SPI_BASE = 32, GIC_SPURIOUS = 1023 };

// Distributor. Registers that are arrays have their offset at interrupt 0.
enum {
    GICD_CTLR = 0x0000,
    GICD_TYPER = 0x0004,
    GICD_IIDR = 0x0008,
    GICD_TYPER2 = 0x000c,
    GICD_STATUSR = 0x0010,
    GICD_SETSPI_NSR = 0x0040,
    GICD_CLRSPI_NSR = 0x0048,
    GICD_IGROUPR = 0x0080,
    GICD_ISENABLER = 0x0100,
    GICD_ICENABLER = 0x0180,
    GICD_ISPENDR = 0x0200,
    GICD_ICPENDR = 0x0280,
    GICD_ISACTIVER = 0x0300,
    GICD_ICACTIVER = 0x0380,
    GICD_IPRIORITYR = 0x0400,
    GICD_ITARGETSR = 0x0800,
    GICD_ICFGR = 0x0c00,
    GICD_IGRPMODR = 0x0d00,
    GICD_NSACR = 0x0e00,
    GICD_SGIR = 0x0f00,
    GICD_CPENDSGIR = 0x0f10,
    GICD_SPENDSGIR = 0x0f20,
    GICD_IROUTER = 0x6000,
    GICD_IROUTER_END = 0x7fe0,
    GIC_PIDR4 = 0xffd0, // identification block, the same in each frame
    GIC_PIDR2 = 0xffe8,
    GIC_CIDR3 = 0xfffc,
};

#define GICD_CTLR_GRP0 BIT(0)
#define GICD_CTLR_GRP1                                                                                                 \
    BIT(1) // as seen with one security state, or from the non-secure one with affinity routing: Grp1A
#define GICD_CTLR_ARE BIT(4)
#define GICD_CTLR_DS BIT(6)
#define GICD_CTLR_RWP BIT(31)
#define GICD_TYPER_LINES BITS(4, 0)
#define GICD_TYPER_IDBITS BITS(23, 19)
#define GICD_TYPER_A3V BIT(24)
#define GICD_TYPER_NO1N BIT(25)
#define GICD_IROUTER_IRM BIT(31)
#define GICD_IROUTER_AFFINITY (BITS(39, 32) | BITS(23, 0))

// Redistributor, RD_base frame.
enum {
    GICR_CTLR = 0x0000,
    GICR_IIDR = 0x0004,
    GICR_TYPER = 0x0008, // 64 bits
    GICR_STATUSR = 0x0010,
    GICR_WAKER = 0x0014,
    GICR_PROPBASER = 0x0070,
    GICR_PENDBASER = 0x0078,
    GICR_SGI_FRAME = 0x10000,
    GICR_FRAMES = 0x20000,
};

#define GICR_CTLR_RWP BIT(3)
#define GICR_TYPER_VLPIS BIT(1)
#define GICR_TYPER_LAST BIT(4)
#define GICR_TYPER_PROCESSOR BITS(23, 8)
#define GICR_TYPER_AFFINITY BITS(63, 32)
#define GICR_WAKER_SLEEP BIT(1)
#define GICR_WAKER_ASLEEP BIT(2)

// Redistributor, SGI_base frame (offsets within that frame).
enum {
    GICR_IGROUPR0 = 0x0080,
    GICR_ISENABLER0 = 0x0100,
    GICR_ICENABLER0 = 0x0180,
    GICR_ISPENDR0 = 0x0200,
    GICR_ICPENDR0 = 0x0280,
    GICR_ISACTIVER0 = 0x0300,
    GICR_ICACTIVER0 = 0x0380,
    GICR_IPRIORITYR = 0x0400,
    GICR_ICFGR0 = 0x0c00,
    GICR_ICFGR1 = 0x0c04,
    GICR_IGRPMODR0 = 0x0d00,
    GICR_NSACR = 0x0e00,
};

// ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1 (§12.2.30)
#define ICC_SGIR_TARGETS BITS(15, 0)
#define ICC_SGIR_AFF1 BITS(23, 16)
#define ICC_SGIR_INTID BITS(27, 24)
#define ICC_SGIR_AFF2 BITS(39, 32)
#define ICC_SGIR_IRM BIT(40)
#define ICC_SGIR_RS BITS(47, 44)
#define ICC_SGIR_AFF3 BITS(55, 48)
